"""Sentence embeddings of all-MiniLM-L6-v2: a small BERT, the mean over its tokens, unit length.

Source: Wang et al. 2020, MiniLM, arXiv:2002.10957; Reimers and Gurevych 2019, Sentence-BERT, arXiv:1908.10084. Tensor
names are those of the published file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.text.base import Meanings
from pvrbench.encoders.text.spec import TextEncoderSpec, weights_row
from pvrbench.encoders.text.wordpiece import token_numbers
from pvrbench.encoders.weights.fit import check_fit
from pvrbench.encoders.weights.loading import state_dict

# Of the published configuration: tokens, and epsilon of the layer norms.
MAX_TOKENS, EPS = 256, 1e-12


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of a BERT."""

    num_words: int = 30522
    num_positions: int = 512
    width: int = 384
    depth: int = 6
    num_heads: int = 12
    hidden: int = 1536


class _Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        maps = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
        after = {"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=EPS)}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(maps), "output": nn.ModuleDict(after)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, size.hidden)})
        self.output = nn.ModuleDict({"dense": nn.Linear(size.hidden, width), "LayerNorm": nn.LayerNorm(width, eps=EPS)})
        self.num_heads = size.num_heads

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        maps, after = (cast("nn.ModuleDict", self.attention[name]) for name in ("self", "output"))
        query, key, value = (
            maps[name](tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        read = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = after["LayerNorm"](tokens + after["dense"](read))
        hidden = functional.gelu(self.intermediate["dense"](tokens))
        return self.output["LayerNorm"](tokens + self.output["dense"](hidden))


class Bert(nn.Module):
    """BERT's encoder, post-norm, for texts of one length."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(size.num_words, size.width),
                "position_embeddings": nn.Embedding(size.num_positions, size.width),
                "token_type_embeddings": nn.Embedding(2, size.width),
                "LayerNorm": nn.LayerNorm(size.width, eps=EPS),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([_Layer(size) for _ in range(size.depth)])})

    def forward(self, numbers: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The tokens after the last layer."""
        positions = torch.arange(numbers.shape[1])
        tokens = self.embeddings["word_embeddings"](numbers)
        tokens = tokens + self.embeddings["position_embeddings"](positions)
        tokens = tokens + self.embeddings["token_type_embeddings"](torch.zeros_like(numbers))
        tokens = self.embeddings["LayerNorm"](tokens)
        for layer in cast("nn.ModuleList", self.encoder["layer"]):
            tokens = layer(tokens)
        return tokens


class SentenceEncoder:
    """A BERT as a sentence encoder.

    Attributes:
        network: the network, with its weights.
    """

    def __init__(self, spec: EncoderSpec, network: Bert) -> None:
        self.network = network.eval().requires_grad_(requires_grad=False)
        self._spec = spec

    @property
    def digest(self) -> str:
        """Of the weights."""
        return digest_of(self._spec, self.network)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Float[Tensor, "B L"]:
        """Mean over the tokens of each text, of unit length; each text is encoded alone."""
        rows = [self.network(torch.tensor([token_numbers(text, MAX_TOKENS)])).mean(dim=1) for text in texts]
        return functional.normalize(torch.cat(rows), dim=1).clone()


def published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors without the pooler, which sentence embeddings do not use, and without the positions."""
    unused = ("pooler.", "embeddings.position_ids")
    return {name: value for name, value in tensors.items() if not name.startswith(unused)}


def load_network(spec: EncoderSpec) -> SentenceEncoder:
    """The network of a row with its weights.

    Raises:
        WeightsError: they are not on this machine, or do not fit.
    """
    network = Bert(Size())
    found = state_dict(spec)
    check_fit(network.state_dict(), found, spec)
    network.load_state_dict(dict(found))
    return SentenceEncoder(spec, network)


def load(spec: TextEncoderSpec, meanings: Meanings) -> SentenceEncoder:
    """The text encoder of a row; it reads words, so the meanings are nothing to it."""
    del meanings
    return load_network(weights_row(spec))
