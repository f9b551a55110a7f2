"""Readouts without a module of their own: vectors as they are, grids averaged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import ProjectedReadout


class Pooled(ProjectedReadout):
    """The fields of the row as vectors, one after the other; a grid is averaged over its cells."""

    def read(self, features: Features) -> Float[Tensor, "B D"]:
        """A vector for each row."""
        vectors = [part.mean(dim=(2, 3)) if part.ndim == 4 else part for part in self.fields(features)]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)


@dataclass(frozen=True, slots=True)
class GridOptions:
    """Options of `GridCells`.

    Attributes:
        side: cells along a side.
    """

    side: PositiveInt


class GridCells(ProjectedReadout):
    """The grid averaged over `side` x `side` cells and flattened: channels first, then rows, then columns."""

    options_type = GridOptions

    def read(self, features: Features) -> Float[Tensor, "B D"]:
        """A vector for each row."""
        return functional.adaptive_avg_pool2d(self.fields(features)[0], self.options.side).flatten(1)
