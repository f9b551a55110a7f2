"""Low-rank adaptation (LoRA): a frozen layer plus the product of two small matrices.

Source: Hu et al. 2022, arXiv:2106.09685, equation 3. The first matrix is drawn as `torch.nn.Linear` draws, the second
is 0, so that training starts at the frozen network. A convolution has a small one of the same kernel before a 1 x 1.

timm's vision transformers compute query, key and value in one layer. It has one low-rank pair for all three, whereas
the paper adapts query and value with a pair each. torch's multi-head attention keeps them in one parameter, which is no
layer and stays frozen.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.adaptation.network import WholeNetwork, modules_of, replace_module

# How the projections of attention are called in timm and diffusers.
_ATTENTION = (".attn.qkv", ".attn.proj", ".to_q", ".to_k", ".to_v", ".to_out.0")


class LoraLayer(nn.Module):
    """A frozen linear layer or convolution with a low-rank update.

    Args:
        base: the frozen layer.
        rank: of the update.
        scale: factor of the update.
        generator: draws the first matrix.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        num_outputs, *inner = base.weight.shape
        bound = 1 / math.sqrt(math.prod(inner))
        first = (torch.rand(rank, *inner, generator=generator) * 2 - 1) * bound
        self.first = nn.Parameter(first.to(base.weight.device))
        self.second = nn.Parameter(base.weight.new_zeros(num_outputs, rank, *(1 for _ in inner[1:])))

    def forward(self, inputs: Float[Tensor, "*B"]) -> Float[Tensor, "*C"]:
        """What the layer gives, and the update."""
        base = self.base
        if isinstance(base, nn.Linear):
            update = functional.linear(functional.linear(inputs, self.first), self.second)
        else:
            update = functional.conv2d(inputs, self.first, None, base.stride, base.padding, base.dilation)
            update = functional.conv2d(update, self.second)
        return torch.add(base(inputs), update, alpha=self.scale)

    @property
    def weight(self) -> Float[Tensor, "O ..."]:
        """The weight of a plain layer that gives the same, up to rounding.

        Some networks do not call a layer but take its weight: EVA's attention, and torch's multi-head attention.
        """
        update = self.second.flatten(1) @ self.first.flatten(1)
        return torch.add(self.base.weight, update.view_as(self.base.weight), alpha=self.scale)

    def __getattr__(self, name: str) -> Any:
        """Other attributes of the frozen layer, such as its bias."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


class Lora(WholeNetwork):
    """Trains a low-rank update of each layer that the options choose."""

    def attach(self, network: nn.Module, generator: torch.Generator) -> dict[str, nn.Parameter]:
        """An update of each layer."""
        trained: dict[str, nn.Parameter] = {}
        for path, module in modules_of(network):
            if isinstance(module, nn.Linear | nn.Conv2d) and self._is_target(path, module):
                layer = LoraLayer(module, self.options.rank, self.options.alpha / self.options.rank, generator)
                replace_module(network, path, layer)
                trained |= {f"{path}.first": layer.first, f"{path}.second": layer.second}
        return trained

    def _is_target(self, path: str, module: nn.Linear | nn.Conv2d) -> bool:
        if self.options.targets == "attention":
            return isinstance(module, nn.Linear) and f".{path}".endswith(_ATTENTION)
        if isinstance(module, nn.Linear):
            return True
        return self.options.targets == "all" and module.groups == 1 and module.padding_mode == "zeros"


def merge(network: nn.Module) -> None:
    """Puts plain layers with merged weights into the places of the low-rank updates of a network."""
    for path, module in modules_of(network):
        if isinstance(module, LoraLayer):
            with torch.no_grad():
                module.base.weight = nn.Parameter(module.weight, requires_grad=False)
            replace_module(network, path, module.base)
