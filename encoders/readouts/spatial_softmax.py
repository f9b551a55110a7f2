"""Keypoints: where in the grid each of a few learned maps is strongest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from pvrbench.encoders.readouts.base import ProjectedReadout
from pvrbench.encoders.readouts.modules import conv


@dataclass(frozen=True, slots=True)
class SpatialSoftmaxOptions:
    """Options of `SpatialSoftmaxReadout`.

    Attributes:
        num_keypoints: keypoints; the head is given x and y of each.
    """

    num_keypoints: PositiveInt


class SpatialSoftmaxReadout(ProjectedReadout):
    """The raw grid through a spatial softmax that is trained with the head."""

    options_type = SpatialSoftmaxOptions

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> SpatialSoftmax:
        """The spatial softmax."""
        return SpatialSoftmax(shape[0], self.options.num_keypoints, generator)


class SpatialSoftmax(nn.Module):
    """1 x 1 convolution to keypoint maps, softmax over positions, expected position (x, y) of each in [-1, 1].

    Source: Finn et al. 2016, arXiv:1509.06113, section IV; 32 keypoints, temperature 1 as in robomimic.
    """

    def __init__(self, num_channels: int, num_keypoints: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = conv(num_channels, num_keypoints, 1, generator)

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B K2"]:
        """Maps a grid to x and y of every keypoint, interleaved."""
        maps: Tensor = self.conv(grid)
        weights = maps.flatten(2).softmax(dim=2).reshape(maps.shape)
        rows = torch.linspace(-1, 1, maps.shape[2], device=grid.device)
        columns = torch.linspace(-1, 1, maps.shape[3], device=grid.device)
        x = (weights.sum(dim=2) * columns).sum(dim=2)
        y = (weights.sum(dim=3) * rows).sum(dim=2)
        return torch.stack([x, y], dim=2).flatten(1)
