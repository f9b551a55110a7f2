"""A small convolutional network on pixels, trained end to end with the head."""

from __future__ import annotations

import torch
from torch import nn

from pvrbench.encoders.readouts.base import ProjectedReadout
from pvrbench.encoders.readouts.modules import conv

_CNN_WIDTHS = (32, 64, 64, 64)


class PixelCnn(ProjectedReadout):
    """The pixels of an encoder that passes them on, through a network that is trained with the head."""

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
        """The network."""
        channels, height, width = shape
        return conv_net((channels, height, width), generator)


def conv_net(shape: tuple[int, int, int], generator: torch.Generator) -> nn.Sequential:
    """A small network on pixels: 3 x 3 convolutions of stride 2 with ReLU until the side is at most 6, flattened."""
    channels, side, _ = shape
    layers: list[nn.Module] = []
    for width in _CNN_WIDTHS:
        if side <= 6 and layers:
            break
        # He initialisation, since nothing normalises between the layers.
        layers += [conv(channels, width, 3, generator, stride=2, padding=1, gain=6**0.5), nn.ReLU()]
        channels, side = width, -(-side // 2)
    return nn.Sequential(*layers, nn.Flatten())
