"""Imagined and true futures side by side: the training frames whose latents are nearest to the predicted ones."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pvrbench.benchmark.probes.drawing import draw_rows
from pvrbench.benchmark.records.probe_schema import Picture
from pvrbench.envs.base import Array

# Side of a frame in the picture.
FRAME_PX = 96


def nearest(latents: Float[Tensor, "H P D"], known: Float[Tensor, "N P D"]) -> list[int]:
    """For each latent the row of the nearest known one."""
    return [int(row) for row in torch.cdist(latents.flatten(1), known.flatten(1)).argmin(dim=1)]


def draw_futures(
    title: str, start: UInt8[Array, "H W 3"], true: list[UInt8[Array, "H W 3"]], imagined: list[UInt8[Array, "H W 3"]]
) -> Picture:
    """Two rows: the start and the true frames, the start and the imagined ones."""
    return draw_rows(title, [[start, *true], [start, *imagined]], FRAME_PX)
