"""Attention pooling: a learned query that attends to the patches."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.readouts.base import ProjectedReadout
from pvrbench.encoders.readouts.modules import RMSNorm, linear

_HEAD_DIM = 32


class AttentionReadout(ProjectedReadout):
    """The raw grid through attention pooling that is trained with the head."""

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> AttentionPooling:
        """The attention block."""
        return AttentionPooling(shape[0], generator)


class AttentionPooling(nn.Module):
    """One learned query attends to all patches; then a gated feed-forward, both post-normalised.

    Heads are 32 wide: Voltron pools with twice the heads of its encoder, whose heads are 64 wide. Parameters carry
    the names of the official block.

    Source: Karamcheti et al. 2023, Voltron, arXiv:2302.12766, section 5; `MAPBlock` of voltron-robotics.
    """

    def __init__(self, num_channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_heads = num_channels // math.gcd(num_channels, _HEAD_DIM)
        self.projection = linear(num_channels, num_channels, generator)
        self.latents = nn.Parameter(torch.randn(1, num_channels, generator=generator) * 0.02)
        self.attn_norm = RMSNorm(num_channels)
        self.attn = nn.ModuleDict(
            {
                "q": linear(num_channels, num_channels, generator, bias=False),
                "kv": linear(num_channels, 2 * num_channels, generator, bias=False),
                "proj": linear(num_channels, num_channels, generator),
            }
        )
        self.mlp_norm = RMSNorm(num_channels)
        self.mlp = nn.Sequential(
            _Gate(num_channels, 4 * num_channels, generator),
            linear(4 * num_channels, num_channels, generator),
        )

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D"]:
        """Maps a grid to one vector."""
        tokens: Tensor = self.projection(grid.flatten(2).transpose(1, 2))
        query: Tensor = self.attn["q"](self.latents).reshape(self.num_heads, -1)
        pairs: Tensor = self.attn["kv"](tokens)
        keys, values = pairs.reshape(*pairs.shape[:2], 2, self.num_heads, -1).unbind(2)
        scores = torch.einsum("hd,bnhd->bhn", query, keys) / query.shape[1] ** 0.5
        pooled = torch.einsum("bhn,bnhd->bhd", scores.softmax(dim=2), values).flatten(1)
        latent: Tensor = self.attn_norm(self.latents + self.attn["proj"](pooled))
        return self.mlp_norm(latent + self.mlp(latent))


class _Gate(nn.Module):
    """SwiGLU: one half of a linear map times the SiLU of the other half."""

    def __init__(self, num_inputs: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.project = linear(num_inputs, 2 * num_outputs, generator)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        projected: Tensor = self.project(x)
        hidden, gate = projected.chunk(2, dim=-1)
        return hidden * functional.silu(gate)
