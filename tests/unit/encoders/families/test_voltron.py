"""Voltron: values of the published code, and loading of checkpoints in the published format."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import (
    load_file,  # pyright: ignore[reportUnknownVariableType] - partly typed
    save_file,  # pyright: ignore[reportUnknownVariableType] - partly typed
)
from torch import Tensor

from pvrbench.encoders.families.voltron import VoltronNetwork, distilbert, load
from pvrbench.encoders.rows.generative import GENERATIVE_ENCODERS
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.loading import WeightsError, import_weights

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "voltron.json").read_text())
ROWS = {"v-cond": "voltron_vcond_small", "v-dual": "voltron_vdual_small", "v-gen": "voltron_vgen_small"}
GEN_NAMES = {"img_token": "img_enc_token", "lang_token": "lang_enc_token"}


def tiny_spec(published: str) -> EncoderSpec:
    row = GENERATIVE_ENCODERS[ROWS[published]]
    options = {**row.options, "depth": 2, "num_heads": 2}
    return dataclasses.replace(row, image_size=32, grid_side=2, feature_dim=64, options=options)


def seeded(shapes: dict[str, torch.Size], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator)
        / (torch.Size(shape[1:]).numel() + 1 if len(shape) > 1 else 4) ** 0.5
        for name, shape in sorted(shapes.items())
    }


def network_weights(published: str) -> tuple[VoltronNetwork, dict[str, Tensor]]:
    num_frames = 1 if published == "v-cond" else 2
    network = VoltronNetwork(width=64, depth=2, num_heads=2, num_frames=num_frames, grid_side=2).eval()
    return network, seeded({name: value.shape for name, value in network.state_dict().items()}, 21)


def language_model() -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (110, 768),
        "embeddings.position_embeddings.weight": (24, 768),
        "embeddings.LayerNorm.weight": (768,),
        "embeddings.LayerNorm.bias": (768,),
    }
    for name in ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"):
        shapes |= {f"transformer.layer.0.{name}.weight": (768, 768), f"transformer.layer.0.{name}.bias": (768,)}
    shapes |= {"transformer.layer.0.ffn.lin1.weight": (64, 768), "transformer.layer.0.ffn.lin1.bias": (64,)}
    shapes |= {"transformer.layer.0.ffn.lin2.weight": (768, 64), "transformer.layer.0.ffn.lin2.bias": (768,)}
    for name in ("sa_layer_norm", "output_layer_norm"):
        shapes |= {f"transformer.layer.0.{name}.weight": (768,), f"transformer.layer.0.{name}.bias": (768,)}
    return seeded({name: torch.Size(shape) for name, shape in shapes.items()}, 8)


def checkpoint(published: str) -> dict[str, Tensor]:
    """The published layout: encoder, decoder and language model in one flat dictionary."""
    _, weights = network_weights(published)
    del weights["null_language"]
    if published == "v-gen":
        weights = {GEN_NAMES.get(name, name): value for name, value in weights.items()}
    training = (
        "decoder_pe",
        "mask_token",
        "decoder_blocks.0.attn.qkv.weight",
        "encoder2decoder.bias",
        "decoder_norm.g",
    )
    return (
        weights
        | {name: torch.zeros(3) for name in training}
        | {f"lm.{name}": value for name, value in language_model().items()}
    )


@pytest.fixture
def weights_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    return tmp_path


def images(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("published", sorted(GOLDEN))
def test_values_are_those_of_the_published_code(published: str) -> None:
    """The numbers were produced by the official classes with these seeded weights and no language."""
    network, weights = network_weights(published)
    network.load_state_dict(weights)
    frames = torch.randn(2, network.num_frames, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found: Tensor = network(frames)
    torch.testing.assert_close(found[:, :, :4].flatten(), torch.tensor(GOLDEN[published]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("published", sorted(ROWS))
def test_a_published_checkpoint_loads(published: str, weights_dir: Path) -> None:
    spec = tiny_spec(published)
    save_file(checkpoint(published), weights_dir / f"{spec.name}.safetensors")
    encoder = load(spec)
    grid = encoder.encode(images()).grid
    assert grid is not None
    assert grid.shape == (3, 64, 2, 2)
    alone = encoder.encode(images()[1:2]).grid
    assert alone is not None
    torch.testing.assert_close(grid[1:2], alone, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())
    tokens = torch.zeros(20, dtype=torch.long)
    tokens[0] = 101
    torch.testing.assert_close(encoder.network.null_language, distilbert(language_model(), tokens, num_seen=1))


def test_the_stored_constant_replaces_the_language_model(weights_dir: Path) -> None:
    spec, whole = tiny_spec("v-cond"), checkpoint("v-cond")
    path = weights_dir / f"{spec.name}.safetensors"
    save_file(whole, path)
    first = load(spec)
    lean = {name: value for name, value in whole.items() if not name.startswith("lm.")}
    save_file(lean | {"null_language": first.network.null_language}, path)
    assert load(spec).digest == first.digest


def test_patches_depend_on_the_null_language() -> None:
    network, weights = network_weights("v-cond")
    network.load_state_dict(weights)
    frames = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        first: Tensor = network(frames)
        network.null_language[3] += 1
        second: Tensor = network(frames)
    assert (first - second).abs().max() > 1e-4


def test_a_file_without_language_is_refused(weights_dir: Path) -> None:
    spec = tiny_spec("v-cond")
    lean = {name: value for name, value in checkpoint("v-cond").items() if not name.startswith("lm.")}
    save_file(lean, weights_dir / f"{spec.name}.safetensors")
    with pytest.raises(ValueError, match=r"neither the language model \(lm\.\*\) nor 'null_language'"):
        load(spec)


def test_the_checkpoint_of_another_row_is_refused(weights_dir: Path) -> None:
    spec = tiny_spec("v-cond")
    save_file(checkpoint("v-dual"), weights_dir / f"{spec.name}.safetensors")
    with pytest.raises(WeightsError, match=r"do not fit 'voltron_vcond_small' .img_token is .*unexpected ctx_enc_pe"):
        load(spec)


def test_float_images_are_refused(weights_dir: Path) -> None:
    spec = tiny_spec("v-cond")
    save_file(checkpoint("v-cond"), weights_dir / f"{spec.name}.safetensors")
    with pytest.raises(TypeError, match="takes raw uint8 RGB"):
        load(spec).encode(images().float())


def test_the_published_file_is_imported_without_its_language_model(weights_dir: Path) -> None:
    spec, file = tiny_spec("v-cond"), weights_dir / "v-cond.pt"
    torch.save((checkpoint("v-cond"), {"step": torch.zeros(1)}), file)
    path = import_weights(spec, file)
    assert path.stat().st_size < file.stat().st_size / 2
    assert not any(name.startswith("lm.") for name in load_file(path))
    encoder = load(spec)
    save_file(checkpoint("v-cond"), path)
    assert load(spec).digest == encoder.digest


def test_missing_weights_say_where_they_are_published(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"drive\.google\.com.*weights import voltron_vcond_small FILE"):
        load(tiny_spec("v-cond"))
