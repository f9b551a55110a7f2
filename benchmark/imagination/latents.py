"""Features -> latents: the grid averaged to a few tokens, its channels reduced and standardised on training frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# Numbers that vary less than this do not vary, but for rounding.
CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class LatentMap:
    """A fitted affine map of tokens.

    Attributes:
        mean: of the tokens.
        axes: onto which they are projected.
        scale: standard deviation of what is projected; infinite where it does not vary.
    """

    mean: Float[Tensor, " C"]
    axes: Float[Tensor, "C D"]
    scale: Float[Tensor, " D"]

    def __call__(self, tokens: Float[Tensor, "*N P C"]) -> Float[Tensor, "*N P D"]:
        """The latents."""
        return (tokens - self.mean) @ self.axes / self.scale

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name, for the stored model."""
        return {"mean": self.mean, "axes": self.axes, "scale": self.scale}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> LatentMap:
        """What `tensors` gave."""
        return cls(tensors["mean"], tensors["axes"], tensors["scale"])


def pooled_tokens(grid: Float[Tensor, "N C h w"], side: int) -> Float[Tensor, "N P C"]:
    """The grid averaged to `side` x `side` tokens, row by row; a smaller grid is repeated."""
    return functional.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2).contiguous()


def fit_latents(tokens: Float[Tensor, "N P C"], latent_dim: int, projection: str, seed: int) -> LatentMap:
    """Fits the map to the tokens of training frames.

    Args:
        tokens: of the training frames.
        latent_dim: numbers that are kept of a token, at most.
        projection: `pca`; `random`, orthonormal axes drawn at random; or empty, which keeps all numbers.
        seed: of a random projection.
    """
    rows = tokens.flatten(0, 1).double()
    mean = rows.mean(dim=0)
    size = rows.shape[1]
    if projection == "pca":
        centred = rows - mean
        vectors = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(centred.T @ centred))[1]
        # Eigenvalues ascend. The sign of an eigenvector is arbitrary; here its largest entry is positive.
        axes = vectors.flip(1)[:, :latent_dim]
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        axes = axes * largest.sign()
    elif projection == "random":
        drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        axes = cast("tuple[Tensor, Tensor]", torch.linalg.qr(drawn))[0][:, :latent_dim]
    else:
        axes = torch.eye(size, dtype=torch.float64)
    spread = ((rows - mean) @ axes).std(dim=0, correction=0)
    scale = torch.where(spread > CONSTANT, spread, torch.full_like(spread, torch.inf))
    return LatentMap(mean.float(), axes.float(), scale.float())
