"""Layers that several readouts share; every parameter is drawn from the generator that is handed in."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d)


class Projection(nn.Module):
    """A linear map of the channels, the same at every cell of a grid."""

    def __init__(self, num_inputs: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear(num_inputs, num_outputs, generator, bias=False)

    def forward(self, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Maps `B D ...` to `B E ...`."""
        return torch.einsum("oi,bi...->bo...", self.linear.weight, features)


class RMSNorm(nn.Module):
    """Division by the root mean square, then a learned scale `g`.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467, equation 4; floor and parameter name as in voltron-robotics.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(num_channels))

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Normalises the last dimension."""
        scale = x.square().mean(dim=-1, keepdim=True).sqrt()
        return x / scale.clamp(min=1e-8) * self.g


def linear(num_inputs: int, num_outputs: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear layer with torch's default initialisation, drawn from a generator."""
    return _filled(nn.Linear(num_inputs, num_outputs, bias=bias, device="meta"), generator)


def conv(  # noqa: PLR0913 - the parameters of a convolution
    num_inputs: int,
    num_outputs: int,
    kernel: int,
    generator: torch.Generator,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    gain: float = 1.0,
) -> nn.Conv2d:
    """A convolution with torch's default initialisation times `gain`, drawn from a generator."""
    layer = nn.Conv2d(num_inputs, num_outputs, kernel, stride=stride, padding=padding, bias=bias, device="meta")
    return _filled(layer, generator, gain)


def _filled(module: _Layer, generator: torch.Generator, gain: float = 1.0) -> _Layer:
    """Fills weight and bias uniformly within gain / sqrt(fan in), torch's own default at gain 1."""
    module = module.to_empty(device="cpu")
    bound = gain / math.sqrt(module.weight[0].numel())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
    return module
