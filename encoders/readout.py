"""Features -> what a head is given: a frozen stage, and for some readouts a stage fitted or trained with the head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from encoders.base import Features
from encoders.readout_catalog import ReadoutSpec

COMPACT_SIDE = 8


def compact(features: Features, max_side: int = COMPACT_SIDE) -> Features:
    """The same features with the grid averaged to a side of at most `max_side`: all that most readouts need.

    The grid is averaged over whole blocks of the smallest factor that does it (14 to 7, 16 to 8, 48 to 8).
    """
    grid = features.grid
    if grid is None or grid.shape[-1] <= max_side:
        return features
    side = grid.shape[-1] // -(-grid.shape[-1] // max_side)
    return Features(features.class_token, functional.adaptive_avg_pool2d(grid, side), features.pooled)


def read(readout: ReadoutSpec, features: Features) -> Float[Tensor, "B ..."]:
    """The frozen stage: a vector for each row, or the grid where a trained stage reads grids.

    Raises:
        ValueError: the encoder has no such features.
    """
    parts: list[Tensor] = []
    for name in readout.reads:
        part = cast("Tensor | None", getattr(features, name))
        if part is None:
            raise ValueError(f"Readout {readout.name!r} reads {name}, which the encoder does not give.")
        parts.append(part)
    return _READ[readout.kind](parts, readout.options)


_READ: Mapping[str, Callable[[list[Tensor], Mapping[str, int]], Tensor]] = {
    "class_token": lambda parts, _: parts[0],
    "pooled": lambda parts, _: parts[0],
    "mean": lambda parts, _: parts[0].mean(dim=(2, 3)),
    "class_mean": lambda parts, _: torch.cat([parts[0], parts[1].mean(dim=(2, 3))], dim=1),
    "grid": lambda parts, options: functional.adaptive_avg_pool2d(parts[0], options["side"]).flatten(1),
    "grid_pca": lambda parts, _: parts[0].flatten(1),
    "spatial_softmax": lambda parts, _: parts[0],
    "compression": lambda parts, _: parts[0],
}


def fit_readout(
    readout: ReadoutSpec, train_features: Float[Tensor, "T ..."], seed: int, budget_dim: int | None
) -> nn.Module | None:
    """The stage between frozen readout and head, from the training demonstrations of this head alone.

    Args:
        readout: the readout.
        train_features: what `read` gave for the training frames.
        seed: seeds the initialisation.
        budget_dim: common width to which every encoder's features are projected first, so that wide encoders do not
            win by the size of their head: a trained linear map of vectors, or of each cell of a grid.

    Returns:
        A module `B ... -> B D`, or None where the vector goes to the head as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    stages: list[nn.Module] = []
    shape = tuple(train_features.shape[1:])
    if budget_dim is not None and readout.kind != "grid_pca" and shape[0] > 0:
        stages.append(_Projection(shape[0], budget_dim, generator))
        shape = (budget_dim, *shape[1:])
    match readout.kind:
        case "grid_pca":
            stages.append(_PrincipalComponents(train_features, readout.options["num_components"]))
        case "spatial_softmax":
            stages.append(_SpatialSoftmax(shape[0], readout.options["num_keypoints"], generator))
        case "compression":
            stages.append(_Compression(shape, readout.options["num_outputs"], generator))
        case _:
            pass
    if not stages:
        return None
    return stages[0] if len(stages) == 1 else nn.Sequential(*stages)


def _drawn(generator: torch.Generator, *shape: int) -> nn.Parameter:
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) * bound)


class _Projection(nn.Module):
    """A linear map of the channels, the same at every cell of a grid."""

    def __init__(self, num_inputs: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = _drawn(generator, num_outputs, num_inputs)

    def forward(self, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        return torch.einsum("oi,bi...->bo...", self.weight, features)


class _PrincipalComponents(nn.Module):
    """Projection on the principal components of the training features. Not whitened: components keep their variance."""

    mean: Tensor
    components: Tensor

    def __init__(self, train_features: Float[Tensor, "T D"], num_components: int) -> None:
        super().__init__()
        mean = train_features.mean(dim=0)
        rank = min(num_components, *train_features.shape)
        _, _, rows = torch.linalg.svd(train_features - mean, full_matrices=False)
        # Singular vectors are defined up to sign; their largest entry is made positive, whatever the solver gave.
        rows = rows[:rank]
        signs = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True)).sign()
        self.register_buffer("mean", mean)
        self.register_buffer("components", rows * signs)

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        return (features - self.mean) @ self.components.T


class _SpatialSoftmax(nn.Module):
    """1 x 1 convolution to keypoint maps, softmax over positions, expected position of each in [-1, 1].

    Source: Finn et al. 2016, arXiv:1509.06113, equation 2; 32 keypoints, temperature 1 as in robomimic.
    """

    def __init__(self, num_channels: int, num_keypoints: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = _drawn(generator, num_keypoints, num_channels)
        self.bias = nn.Parameter(torch.zeros(num_keypoints))

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B K2"]:
        maps = torch.einsum("kd,bdhw->bkhw", self.weight, grid) + self.bias[:, None, None]
        weights = maps.flatten(2).softmax(dim=2).reshape(maps.shape)
        rows = torch.linspace(-1, 1, maps.shape[2], device=grid.device)
        columns = torch.linspace(-1, 1, maps.shape[3], device=grid.device)
        x = (weights.sum(dim=2) * columns).sum(dim=2)
        y = (weights.sum(dim=3) * rows).sum(dim=2)
        return torch.stack([x, y], dim=2).flatten(1)


class _Compression(nn.Module):
    """3 x 3 convolution to few channels, group normalisation, ReLU, flattened.

    Source: Majumdar et al. 2023, VC-1, arXiv:2303.18240, compression layer: about `num_outputs` numbers, one group.
    """

    def __init__(self, shape: tuple[int, ...], num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        channels, height, width = shape
        num_channels = max(1, round(num_outputs / (height * width)))
        self.weight = _drawn(generator, num_channels, channels, 3, 3)
        self.scale = nn.Parameter(torch.ones(num_channels))
        self.shift = nn.Parameter(torch.zeros(num_channels))

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B O"]:
        maps = functional.conv2d(grid, self.weight, padding=1)
        return functional.group_norm(maps, 1, self.scale, self.shift).relu().flatten(1)
