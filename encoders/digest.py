"""What an encoder's output depends on, as one digest."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from pvrbench.encoders.spec import EncoderSpec


def digest_of(spec: EncoderSpec, network: nn.Module) -> str:
    """SHA-256 over preprocessing, options and every parameter and buffer of a network."""
    parts: tuple[object, ...] = (
        spec.image_size,
        spec.interpolation,
        spec.mean,
        spec.std,
        sorted(spec.options.items()),
    )
    if spec.options.get("preprocessing") == "official":
        parts += (spec.crop_fraction, spec.official)
    content = hashlib.sha256(repr(parts).encode())
    for name, value in sorted(network.state_dict().items()):
        content.update(name.encode())
        content.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()
