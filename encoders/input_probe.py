"""What the first layer of a network is shown when its encoder is given an image."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pvrbench.encoders.base import Encoder

# Tried in this order where nobody says which size the pictures will have.
PROBE_SIZES = (224, 112, 64, 84, 96, 128, 256, 336, 384, 448, 518)


def network_of(encoder: Encoder) -> nn.Module | None:
    """The network of an encoder that shows it as `network`; None where there is none or it is hidden."""
    network = cast("object", getattr(encoder, "network", None))
    return network if isinstance(network, nn.Module) else None


def device_of(encoder: Encoder) -> torch.device:
    """Where the network of an encoder is; the CPU where that cannot be seen."""
    network = network_of(encoder)
    first = None if network is None else next(iter((*network.parameters(), *network.buffers())), None)
    return torch.device("cpu") if first is None else first.device


def encode(encoder: Encoder, images: Tensor) -> Any:
    """Features of images, which are brought to where the network is."""
    return encoder.encode(images.to(device_of(encoder)))


def network_input(encoder: Encoder, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "C 3 h w"] | None:
    """The first images that a layer with weights takes; None where the network is hidden or takes no images.

    Layers without weights before it, such as a normalisation, are the encoder's preprocessing.
    """
    network = network_of(encoder)
    if network is None:
        return None
    seen: list[Tensor] = []

    def look(_module: nn.Module, inputs: tuple[object, ...]) -> None:
        first = inputs[0] if inputs else None
        if not seen and isinstance(first, Tensor) and first.ndim == 4 and first.shape[1] == 3:
            seen.append(first.detach().float().cpu().clone())

    layers = (layer for layer in network.modules() if any(p.ndim >= 2 for p in layer.parameters(recurse=False)))
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        encode(encoder, images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0] if seen else None


def accepted_px(encoder: Encoder) -> int:
    """Side of the square pictures that an encoder takes: the first of `PROBE_SIZES` on which it does not fail.

    An encoder that fails on all of them is probed at the first one, so that its error is seen.
    """
    for side in PROBE_SIZES:
        try:
            encode(encoder, torch.zeros(1, side, side, 3, dtype=torch.uint8))
        except Exception:  # noqa: BLE001, S112 - foreign code may raise anything; the next size may do
            continue
        return side
    return PROBE_SIZES[0]
