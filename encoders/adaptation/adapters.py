"""Bottleneck adapters: small residual networks between the frozen layers of a vision transformer.

Source: Sharma et al. 2023, arXiv:2304.06600: one adapter at the bottom, after the patch embedding; one in the middle of
each block; one at the top. Each is `x + up(GELU(down(x)))` with `up` 0 at the start. Deviation: the middle ones stand
after the MLP of a block alone, before it is added to the residual stream.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.adaptation.network import WholeNetwork, replace_module
from pvrbench.encoders.readouts.modules import linear


class AdapterLayer(nn.Module):
    """A frozen module whose tokens go through a bottleneck.

    Args:
        base: the frozen module, which gives `B N D`.
        width: D.
        bottleneck: channels of the bottleneck.
        generator: draws the way down.
    """

    def __init__(self, base: nn.Module, width: int, bottleneck: int, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.down = linear(width, bottleneck, generator)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, *inputs: Any, **options: Any) -> Float[Tensor, "B N D"]:
        """What the module gives, and what the bottleneck adds."""
        tokens = self.base(*inputs, **options)
        return tokens + self.up(functional.gelu(self.down(tokens)))

    def __getattr__(self, name: str) -> Any:
        """Attributes of the frozen module: timm asks its patch embedding for sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


class Adapters(WholeNetwork):
    """Trains the adapters of a vision transformer of timm."""

    def attach(self, network: nn.Module, generator: torch.Generator) -> dict[str, nn.Parameter]:
        """Adapters at the bottom, in each block and at the top."""
        if not isinstance(network, VisionTransformer):
            return {}
        trained: dict[str, nn.Parameter] = {}
        middle = [f"blocks.{index}.mlp" for index in range(len(network.blocks))]
        for path in ("patch_embed", *middle, "norm"):
            base = network.get_submodule(path)
            layer = AdapterLayer(base, network.embed_dim, self.options.width, generator)
            device = next(network.parameters()).device
            replace_module(network, path, layer.to(device))
            for name in ("down", "up"):
                part = layer.get_submodule(name)
                trained |= {f"{path}.{name}.{key}": value for key, value in part.named_parameters()}
        return trained
