"""Bringing a table of position embeddings to another grid, as the authors of a network do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# DINOv2 adds this to the new side before it computes the scale, so that rounding never loses a row.
_OFFSET = 0.1
METHODS: Mapping[str, Mapping[str, Any]] = {
    "bicubic": {"mode": "bicubic", "align_corners": False},
    "bicubic_offset": {"mode": "bicubic", "align_corners": False},
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear_antialiased": {"mode": "bilinear", "align_corners": False, "antialias": True},
}
"""How a table is interpolated; timm's way is bicubic with antialiasing."""


def resampled(table: Float[Tensor, "1 N D"], num_prefix: int, side: int, method: str) -> Float[Tensor, "1 M D"]:
    """A table of positions for a square grid of another side.

    Args:
        table: one row for each prefix token that has a position, then the patches row by row.
        num_prefix: prefix tokens that have a position; their rows are kept.
        side: patches along the new side.
        method: a key of `METHODS`.

    Source: `bicubic`: huggingface/transformers, `models/dinov2/modeling_dinov2.py`; `bicubic_offset`:
    facebookresearch/dinov2, `models/vision_transformer.py`, `interpolate_pos_encoding`; `bilinear`: NVlabs/RADIO,
    `radio/vit_patch_generator.py`; `bilinear_antialiased`: google-deepmind/tips, `pytorch/image_encoder.py`.
    """
    prefix, patches = table[:, :num_prefix], table[:, num_prefix:]
    stored = round(patches.shape[1] ** 0.5)
    if stored == side:
        return table
    scale = (side + _OFFSET) / stored if method == "bicubic_offset" else None
    found = functional.interpolate(
        patches.reshape(1, stored, stored, -1).permute(0, 3, 1, 2),
        size=None if scale else (side, side),
        scale_factor=(scale, scale) if scale else None,
        **METHODS[method],
    )
    return torch.cat([prefix, found.flatten(2).transpose(1, 2)], dim=1)
