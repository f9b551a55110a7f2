"""One convolution to few channels, which keeps the grid's layout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import PositiveInt
from torch import nn

from pvrbench.encoders.readouts.base import ProjectedReadout
from pvrbench.encoders.readouts.modules import conv


@dataclass(frozen=True, slots=True)
class CompressionOptions:
    """Options of `Compression`.

    Attributes:
        num_outputs: about so many numbers remain; the number of channels is rounded.
    """

    num_outputs: PositiveInt


class Compression(ProjectedReadout):
    """The raw grid through a compression layer that is trained with the head."""

    options_type = CompressionOptions

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
        """The compression layer."""
        channels, height, width = shape
        return compression((channels, height, width), self.options.num_outputs, generator)


def compression(shape: tuple[int, int, int], num_outputs: int, generator: torch.Generator) -> nn.Sequential:
    """3 x 3 convolution without bias to so few channels that about `num_outputs` numbers remain, one norm group, ReLU.

    Source: Majumdar et al. 2023, VC-1, arXiv:2303.18240, its compression layer.
    """
    channels, height, width = shape
    num_channels = max(1, round(num_outputs / (height * width)))
    return nn.Sequential(
        conv(channels, num_channels, 3, generator, padding=1, bias=False),
        nn.GroupNorm(1, num_channels),
        nn.ReLU(),
        nn.Flatten(),
    )
