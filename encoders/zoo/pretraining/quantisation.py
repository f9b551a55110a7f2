"""Weights in a quarter of their size: matrices as int8 with one scale for each output channel, the rest as float16."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_SCALE = ".scale"
_LEVELS = 127
# Below this a matrix is not worth it.
_MIN_NUMBERS = 1024


def quantise(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors to be stored.

    Args:
        weights: float tensors. Matrices and convolutions (first side above 1, at least 1024 numbers) become int8 with
            float32 scales under `<name>.scale`; of the others vectors stay as they are and tables become float16.

    Raises:
        ValueError: a tensor is not finite, or a name ends like that of a scale.
    """
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.endswith(_SCALE) or not bool(torch.isfinite(value).all()):
            fault = "has the name of a scale" if name.endswith(_SCALE) else "is not finite"
            raise ValueError(f"Weight {name!r} {fault}; it cannot be quantised.")
        if value.ndim >= 2 and value.shape[0] > 1 and value.numel() >= _MIN_NUMBERS:
            rows = value.detach().float().flatten(1)
            scale = (rows.abs().amax(dim=1) / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
            whole = (rows / scale[:, None]).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
            stored[name], stored[name + _SCALE] = whole.reshape(value.shape).contiguous(), scale
        else:
            stored[name] = value.detach().to(torch.float16 if value.ndim >= 2 else torch.float32).clone().contiguous()
    return stored


def dequantise(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors of what `quantise` made; float tensors pass."""
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        whole = value.float()
        weights[name] = whole if scale is None else whole * scale.reshape(-1, *([1] * (value.ndim - 1)))
    return weights
