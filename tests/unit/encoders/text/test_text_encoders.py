"""Text encoders: the controls, the tokens of BERT, its network, and what happens without weights."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from pvrbench.encoders.text.base import load_text_encoder
from pvrbench.encoders.text.catalog import TEXT_ENCODERS
from pvrbench.encoders.text.minilm import EPS, Bert, SentenceEncoder, Size
from pvrbench.encoders.text.spec import weights_row
from pvrbench.encoders.text.wordpiece import token_numbers
from pvrbench.encoders.weights.location import WeightsError, weights_present

MEANINGS = (("touch red", "reach for red"), ("touch blue", "reach for blue"))
TINY = Size(num_words=30522, width=16, depth=2, num_heads=2, hidden=24)


def test_one_hot_is_the_task_whatever_the_wording() -> None:
    encoder = load_text_encoder(TEXT_ENCODERS["one_hot"], MEANINGS)
    assert encoder.encode(["touch red", "reach for blue", "reach for red"]).tolist() == [[1, 0], [0, 1], [1, 0]]


def test_one_hot_refuses_words_that_no_task_has() -> None:
    encoder = load_text_encoder(TEXT_ENCODERS["one_hot"], MEANINGS)
    with pytest.raises(ValueError, match=r"knows the wordings of its tasks alone, and 'touch it' is none\. Use a text"):
        encoder.encode(["touch it"])


def test_one_hot_of_other_tasks_is_another_encoder() -> None:
    first, second = (load_text_encoder(TEXT_ENCODERS["one_hot"], texts) for texts in (MEANINGS, MEANINGS[::-1]))
    assert first.digest != second.digest


def test_constant_says_nothing() -> None:
    encoder = load_text_encoder(TEXT_ENCODERS["constant"], MEANINGS)
    assert encoder.encode(["touch red", "anything"]).tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("hello world", [101, 7592, 2088, 102]),
        ("Hello, World!", [101, 7592, 1010, 2088, 999, 102]),
        ("café", [101, 7668, 102]),
        ("tokenization", [101, 19204, 3989, 102]),
        ("\N{SNOWMAN}", [101, 100, 102]),
        ("", [101, 102]),
    ],
)
def test_tokens_are_those_of_berts_uncased_models(text: str, numbers: list[int]) -> None:
    assert token_numbers(text, 256) == numbers


def test_long_texts_are_cut_off() -> None:
    assert token_numbers("hello " * 500, 8) == [101, *[7592] * 6, 102]


def as_torch_has_it(network: Bert) -> nn.ModuleList:
    """The same layers as torch's own, which share no code with ours."""
    layers = nn.ModuleList()
    for ours in cast("nn.ModuleList", network.encoder["layer"]):
        values: dict[str, Tensor] = ours.state_dict()
        maps = [f"attention.self.{name}" for name in ("query", "key", "value")]
        layer = nn.TransformerEncoderLayer(
            TINY.width, TINY.num_heads, TINY.hidden, 0.0, "gelu", layer_norm_eps=EPS, batch_first=True
        )
        state = {
            "self_attn.in_proj_weight": torch.cat([values[f"{name}.weight"] for name in maps]),
            "self_attn.in_proj_bias": torch.cat([values[f"{name}.bias"] for name in maps]),
        }
        pairs = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for theirs, name in pairs.items():
            state |= {f"{theirs}.{part}": values[f"{name}.{part}"] for part in ("weight", "bias")}
        layer.load_state_dict(state)
        layers.append(layer)
    return layers


def test_the_network_is_torchs_post_norm_transformer() -> None:
    torch.manual_seed(0)
    network = Bert(TINY).eval()
    numbers = torch.tensor([token_numbers("put the red cube on the green one", 256)])
    with torch.no_grad():
        tokens = network.embeddings["LayerNorm"](
            network.embeddings["word_embeddings"](numbers)
            + network.embeddings["position_embeddings"](torch.arange(numbers.shape[1]))
            + network.embeddings["token_type_embeddings"](torch.tensor(0))
        )
        for layer in as_torch_has_it(network).eval():
            tokens = layer(tokens)
        torch.testing.assert_close(network(numbers), tokens, rtol=1e-4, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_other_texts() -> None:
    torch.manual_seed(0)
    encoder = SentenceEncoder(weights_row(TEXT_ENCODERS["minilm"]), Bert(TINY))
    texts = ["touch red", "put the can into its compartment", "go"]
    together = encoder.encode(texts)
    assert torch.equal(together, torch.cat([encoder.encode([text]) for text in texts]))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_without_weights_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"'minilm' are not on this machine.*pvrbench weights fetch minilm"):
        load_text_encoder(TEXT_ENCODERS["minilm"], MEANINGS)


@pytest.mark.slow
def test_similarities_are_the_published_ones() -> None:
    """Those that the model's page shows for its example."""
    if not weights_present(weights_row(TEXT_ENCODERS["minilm"])):
        pytest.skip("the weights of minilm are not on this machine")
    encoder = load_text_encoder(TEXT_ENCODERS["minilm"], MEANINGS)
    first, *others = encoder.encode(
        ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    )
    found = [float(first @ other) for other in others]
    assert found == pytest.approx([0.695, 0.943, 0.257], abs=0.001)
