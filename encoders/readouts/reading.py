"""Features -> what a head is given: a frozen stage, and for some readouts a stage fitted or trained with the head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.catalog import ReadoutSpec
from pvrbench.encoders.readouts.modules import (
    AttentionPooling,
    ConvNeck,
    PrincipalComponents,
    Projection,
    SpatialSoftmax,
    compression,
    conv_net,
)

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
    "conv_neck": lambda parts, _: parts[0],
    "attention": lambda parts, _: parts[0],
    "cnn": lambda parts, _: parts[0],
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
            win by the size of their head: a linear map of vectors, or of each cell of a grid, trained with the head
            (a fitted one would keep variance, not what the task needs). `grid_pca` keeps at most so many components;
            `cnn` reads pixels, which are equally wide for all.

    Returns:
        A module `B ... -> B D`, or None where the vector goes to the head as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(train_features.shape[1:])
    if readout.kind == "grid_pca":
        return PrincipalComponents(train_features, min(readout.options["num_components"], budget_dim or shape[0]))
    stages: list[nn.Module] = []
    if budget_dim is not None and readout.kind != "cnn" and shape[0] > 0:
        stages.append(Projection(shape[0], budget_dim, generator))
        shape = (budget_dim, *shape[1:])
    build = _TRAINED.get(readout.kind)
    if build is not None:
        stages.append(build(shape, readout.options, generator))
    if not stages:
        return None
    return stages[0] if len(stages) == 1 else nn.Sequential(*stages)


_TRAINED: Mapping[str, Callable[[tuple[int, ...], Mapping[str, int], torch.Generator], nn.Module]] = {
    "spatial_softmax": lambda shape, options, g: SpatialSoftmax(shape[0], options["num_keypoints"], g),
    "compression": lambda shape, options, g: compression((shape[0], shape[1], shape[2]), options["num_outputs"], g),
    "conv_neck": lambda shape, options, g: ConvNeck(shape[0], options["width"], g),
    "attention": lambda shape, _, g: AttentionPooling(shape[0], g),
    "cnn": lambda shape, _, g: conv_net((shape[0], shape[1], shape[2]), g),
}
