"""Adaptations that train: they start at the frozen encoder, train what they say, and leave the rest as it is."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import cast

import pytest
import torch
from jaxtyping import Float, UInt8
from timm.models.eva import Eva
from torch import Tensor, nn

from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.common.options import OptionError
from pvrbench.encoders.adaptation.base import AdaptationError, TrainedAdaptation, load_adaptation
from pvrbench.encoders.adaptation.catalog import ADAPTATIONS
from pvrbench.encoders.adaptation.lora import Lora, merge
from pvrbench.encoders.adaptation.network import NetworkRest
from pvrbench.encoders.adaptation.readout import AdaptedReadout
from pvrbench.encoders.adaptation.spec import refusal
from pvrbench.encoders.base import Encoder
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.input_probe import network_of
from pvrbench.encoders.readouts.base import load_readout
from pvrbench.encoders.readouts.catalog import READOUTS
from pvrbench.policies.base import TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import TrainSettings, Tuning
from pvrbench.policies.together import train_heads
from pvrbench.policies.training.tuning import random_shift

TRAINED = ("lora", "adapters", "last_blocks", "full")
SETTINGS = TrainSettings(
    num_updates=5,
    batch_size=4,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="cosine",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)


def frames(count: int = 6) -> UInt8[Tensor, "B 112 112 3"]:
    return torch.randint(0, 256, (count, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def encoder_of(name: str) -> Encoder:
    return load_encoder(ENCODERS[name])


def adaptation_of(name: str, **options: object) -> TrainedAdaptation:
    return cast("TrainedAdaptation", load_adaptation(ADAPTATIONS[name].with_options(options)))


def weights_of(encoder: Encoder) -> str:
    network = network_of(encoder)
    assert network is not None
    return digest_of(encoder.spec, network)


def train_job(adaptation: TrainedAdaptation, encoder: Encoder, learning_rate: float) -> TrainJob:
    grid = adaptation.prepare(encoder).encode(frames()).grid
    assert grid is not None
    module = AdaptedReadout(adaptation, encoder, load_readout(READOUTS["mean"])).fit(grid, 0, None)
    tuning = Tuning(learning_rate=learning_rate, weight_decay=0.0, warmup=0.1)
    return replace(frozen_job(grid), trained_readout=module, tuning=tuning)


def frozen_job(features: Float[Tensor, "T ..."]) -> TrainJob:
    draw = torch.Generator().manual_seed(1)
    return TrainJob(
        features=features,
        proprio=torch.rand(len(features), 4, generator=draw),
        actions=torch.rand(len(features), 2, generator=draw) * 2 - 1,
        episodes=torch.zeros(len(features), dtype=torch.long),
        seed=0,
    )


@pytest.mark.parametrize(
    ("encoder_name", "name"), [*(("zoo_mae", name) for name in TRAINED), ("zoo_dift", "lora"), ("zoo_dift", "full")]
)
def test_training_starts_at_the_frozen_features_to_the_bit(encoder_name: str, name: str) -> None:
    encoder = encoder_of(encoder_name)
    adaptation = adaptation_of(name)
    shared = adaptation.prepare(encoder).encode(frames()).grid
    assert shared is not None
    found, frozen = adaptation.rest(encoder, 0)(shared), encoder.encode(frames())
    for part in ("class_token", "grid"):
        expected = getattr(frozen, part)
        assert expected is None or torch.equal(getattr(found, part), expected)


@pytest.mark.parametrize("name", TRAINED)
def test_every_trained_parameter_moves_and_nothing_else(name: str) -> None:
    encoder = encoder_of("zoo_mae")
    before = weights_of(encoder)
    job = train_job(adaptation_of(name), encoder, 1e-2)
    module = job.trained_readout
    assert module is not None
    policy = train_heads(HEADS["mlp"], [job], SETTINGS)[0]
    trained = policy.trained_readout
    assert trained is not None
    pairs = list(zip(module.named_parameters(), trained.parameters(), strict=True))
    assert [key for (key, old), new in pairs if torch.equal(old, new)] == []
    assert weights_of(encoder) == before
    again = train_heads(HEADS["mlp"], [job], SETTINGS)[0].trained_readout
    assert again is not None
    assert all(torch.equal(one, other) for one, other in zip(trained.parameters(), again.parameters(), strict=True))
    stored = sum(value.numel() for value in trained.state_dict().values())
    assert stored == policy.num_params["trained_readout"]
    assert torch.equal(pickle.loads(pickle.dumps(trained))(job.features), trained(job.features))  # noqa: S301 - our own


def test_full_with_learning_rate_0_acts_as_frozen() -> None:
    encoder = encoder_of("zoo_mae")
    job = train_job(adaptation_of("full"), encoder, 0.0)
    grid = encoder.encode(frames()).grid
    assert grid is not None
    frozen = frozen_job(grid.mean(dim=(2, 3)))
    ours, theirs = (train_heads(HEADS["mlp"], [each], SETTINGS)[0].export()[0] for each in (job, frozen))
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in theirs)


def test_merged_lora_agrees() -> None:
    encoder = encoder_of("zoo_dift")
    rest = adaptation_of("lora", targets="all").rest(encoder, 0)
    assert isinstance(rest, NetworkRest)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for part in rest.parameters():
            part.add_(0.01 * torch.randn(part.shape, generator=draw))
        shared = adaptation_of("lora").prepare(encoder).encode(frames(2)).grid
        assert shared is not None
        apart = rest(shared).grid
        merge(rest.network)
        merged = rest(shared).grid
    assert apart is not None
    assert merged is not None
    assert (apart - merged).norm() / apart.norm() < 1e-5


class _Attention(nn.Module):
    """Torch's multi-head attention, which takes the weight of its last layer rather than calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attention(tokens, tokens, tokens)[0]


@pytest.mark.parametrize("kind", ["eva", "torch"])
def test_lora_reaches_layers_whose_weights_are_taken(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "eva":
        # Biases of query and value apart from the layer: timm then takes the layer's weight.
        network: nn.Module = Eva(
            img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2, num_classes=0, qkv_fused=True
        )
        inputs = torch.rand(2, 3, 32, 32)
    else:
        network, inputs = _Attention(), torch.rand(2, 5, 8)
    network.eval().requires_grad_(requires_grad=False)
    # With gradients, torch's attention takes the same path before and after.
    frozen = network(inputs.requires_grad_())
    lora = load_adaptation(ADAPTATIONS["lora"].with_options({}))
    assert isinstance(lora, Lora)
    trained = lora.attach(network, torch.Generator().manual_seed(0))
    assert torch.equal(network(inputs), frozen)
    (network(inputs) ** 2).sum().backward()
    seconds = {key: value.grad for key, value in trained.items() if key.endswith(".second")}
    assert [key for key, grad in seconds.items() if grad is None or not grad.any()] == []


def test_training_in_bfloat16_gives_a_policy_in_float32() -> None:
    encoder = encoder_of("zoo_mae")
    job = train_job(adaptation_of("lora"), encoder, 1e-2)
    tuning = cast("Tuning", job.tuning)
    lower = replace(job, tuning=replace(tuning, precision="bfloat16"))
    one, other = (train_heads(HEADS["mlp"], [each], SETTINGS)[0].trained_readout for each in (job, lower))
    assert one is not None
    assert other is not None
    assert {part.dtype for part in other.parameters()} == {torch.float32}
    assert not all(torch.equal(left, right) for left, right in zip(one.parameters(), other.parameters(), strict=True))


def test_a_copy_shares_what_is_frozen() -> None:
    rest = adaptation_of("lora").rest(encoder_of("zoo_mae"), 0)
    assert isinstance(rest, NetworkRest)
    other = copy.deepcopy(rest)
    key = "blocks.0.attn.qkv.base.weight"
    assert other.network.get_parameter(key) is rest.network.get_parameter(key)
    assert next(other.parameters()) is not next(rest.parameters())


def test_frames_are_shifted_and_edges_repeated() -> None:
    pictures = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).float()
    assert random_shift(pictures, 0, None) is pictures
    found = random_shift(pictures, 2, torch.Generator().manual_seed(0))
    assert found.shape == pictures.shape
    assert not torch.equal(found, pictures)
    assert torch.equal(random_shift(torch.ones(1, 3, 8, 8), 2, None), torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("name", "options", "encoder", "text"),
    [
        ("adapters", {}, "random_resnet18_64", "finds nothing to train in the network of encoder 'random_resnet18_64'"),
        ("last_blocks", {}, "zoo_dift", "'zoo_dift' is none"),
        ("last_blocks", {"num_blocks": 7}, "zoo_mae", "has 6. Set num_blocks to at most 6"),
        ("lora", {"targets": "attention"}, "random_resnet18_64", "finds nothing to train"),
        ("full", {}, "pixels_7", "has no network with features"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_by_name(
    name: str, options: dict[str, object], encoder: str, text: str
) -> None:
    with pytest.raises(AdaptationError, match=text):
        adaptation_of(name, **options).prepare(encoder_of(encoder))


def test_rows_tell_what_cannot_be_adapted() -> None:
    assert refusal(ADAPTATIONS["frozen"], ENCODERS["oracle"]) is None
    assert "oracle has none" in str(refusal(ADAPTATIONS["lora"], ENCODERS["oracle"]))
    assert "pretrained weights" in str(refusal(ADAPTATIONS["from_scratch"], ENCODERS["zoo_mae"]))
    assert refusal(ADAPTATIONS["from_scratch"], ENCODERS["random_zoo_vit"]) is None
    with pytest.raises(OptionError, match="has no option 'rnak'"):
        ADAPTATIONS["lora"].with_options({"rnak": 4})
