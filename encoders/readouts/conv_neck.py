"""Three convolutions from a grid to one vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.readouts.base import ProjectedReadout
from pvrbench.encoders.readouts.modules import conv

_NECK_SIDE = 14


@dataclass(frozen=True, slots=True)
class ConvNeckOptions:
    """Options of `ConvNeckReadout`.

    Attributes:
        width: channels of the convolutions, and numbers that the head is given.
    """

    width: PositiveInt


class ConvNeckReadout(ProjectedReadout):
    """The raw grid through a convolutional neck that is trained with the head."""

    options_type = ConvNeckOptions

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> ConvNeck:
        """The neck."""
        return ConvNeck(shape[0], self.options.width, generator)


class ConvNeck(nn.Module):
    """Three convolutions that bring a 14 x 14 grid to 1 x 1 x 256, each with layer normalisation and ReLU.

    Grids of another side are averaged or repeated to 14 x 14 first.

    Source: Shang et al. 2024, Theia, arXiv:2407.20179, the policy head of its CortexBench evaluation.
    """

    def __init__(self, num_channels: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(num_channels, width, 4, generator, stride=2, padding=1),
            nn.LayerNorm([width, 7, 7]),
            nn.ReLU(),
            conv(width, width, 3, generator, stride=2),
            nn.LayerNorm([width, 3, 3]),
            nn.ReLU(),
            conv(width, width, 3, generator),
            nn.LayerNorm([width, 1, 1]),
            nn.ReLU(),
            nn.Flatten(),
        )

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B W"]:
        """Maps a grid to one vector."""
        if grid.shape[-2:] != (_NECK_SIDE, _NECK_SIDE):
            grid = functional.adaptive_avg_pool2d(grid, _NECK_SIDE)
        return self.layers(grid)
