"""What an encoder costs: parameters and operations for a frame."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from encoders.base import Encoder


def flops_per_frame(encoder: Encoder) -> int | None:
    """Floating-point operations for one frame, multiplications and additions counted apart.

    Counted by torch on one call with one frame; None where the encoder reads no image.
    """
    return _count(encoder) if encoder.spec.modality == "image" else None


@lru_cache(maxsize=64)
def _count(encoder: Encoder) -> int:
    device = next(iter(_parameters(encoder)), torch.zeros(0)).device
    frame = torch.zeros(1, max(encoder.spec.image_size, 32), max(encoder.spec.image_size, 32), 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        encoder.encode(frame.to(device))
    return counter.get_total_flops()


def _parameters(encoder: Encoder) -> list[torch.Tensor]:
    network = cast("nn.Module | None", getattr(encoder, "network", None))
    return [] if network is None else list(network.parameters())
