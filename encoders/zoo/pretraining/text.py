"""Captions as numbers: whole words of a small vocabulary, and a small transformer that is trained from scratch."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

PAD, START, END, UNKNOWN = 0, 1, 2, 3
_NUM_SPECIAL = 4
MAX_TOKENS = 20


class Vocabulary:
    """The words of some captions, in alphabetical order.

    Args:
        captions: the captions; letters and digits make words, case does not matter.
    """

    def __init__(self, captions: Iterable[str]) -> None:
        self.words: tuple[str, ...] = tuple(sorted({word for caption in captions for word in _words(caption)}))
        self._index = {word: index + _NUM_SPECIAL for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words) + _NUM_SPECIAL

    def encode(self, captions: Iterable[str]) -> Int[Tensor, "B T"]:
        """Start, words, end, padding; captions are cut at 20 tokens, as Voltron's are."""
        rows = [
            [START, *(self._index.get(word, UNKNOWN) for word in _words(caption)[: MAX_TOKENS - 2]), END]
            for caption in captions
        ]
        length = max(map(len, rows), default=2)
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows], dtype=torch.long).reshape(-1, length)


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", caption.lower())


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B 1 S T"]) -> Float[Tensor, "B T D"]:
        joint: Tensor = self.qkv(self.norm1(x))
        query, key, value = joint.reshape(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm2(x))


class TextTransformer(nn.Module):
    """A small pre-norm transformer over words.

    Args:
        num_words: size of the vocabulary.
        width: channels.
        depth: blocks.
        is_causal: whether a word sees only those before it, as in CLIP.
    """

    def __init__(self, num_words: int, width: int, depth: int, *, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.words = nn.Embedding(num_words, width)
        self.position = nn.Parameter(torch.zeros(1, MAX_TOKENS, width))
        self.blocks = nn.ModuleList(_Block(width, max(1, width // 64)) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The state of every word."""
        length = tokens.shape[1]
        mask = (tokens != PAD)[:, None, None, :]
        if self.is_causal:
            mask = mask & torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        x = self.words(tokens) + self.position[:, :length]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    def last(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """The state of the end token."""
        states: Tensor = self(tokens)
        return states[torch.arange(len(tokens), device=tokens.device), (tokens == END).int().argmax(dim=1)]

    def mean(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """The mean state of the words that are there."""
        states: Tensor = self(tokens)
        is_word = (tokens != PAD).unsqueeze(-1)
        return (states * is_word).sum(dim=1) / is_word.sum(dim=1)
