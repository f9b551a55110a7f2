"""Where are the objects? A linear probe of features, trained and tested on frames of different clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.zoo.pretraining.base import Array, PretrainingFrames
from pvrbench.encoders.zoo.pretraining.sampling import split_clips

MAX_FRAMES = 2000
TILE = 32
# Shares of the mean squared feature that are added as ridge; the best on the last clips for training is taken.
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_TUNING = 0.2


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How well positions are read.

    Attributes:
        r2: explained share of the variance over the test frames, pooled over objects and axes; 0 for the mean position.
        error: mean distance, as a share of the picture's side.
        mean_error: the same for the answer that is always the mean training position.
        num_features: width of what was probed.
        num_train: frames for training.
        num_test: frames for testing.
    """

    r2: float
    error: float
    mean_error: float
    num_features: int
    num_train: int
    num_test: int


def probe_encoder(encoder: Encoder, frames: PretrainingFrames, held_out: float) -> dict[str, ProbeResult]:
    """Probes each field of an encoder's features, and the mean of its grid.

    Args:
        encoder: a frozen encoder.
        frames: frames with the positions of objects.
        held_out: share of the clips to test on; the split is that of the training.
    """
    splits = split_clips(len(frames.clip_starts), held_out)
    train, test = (_pick(frames, clips) for clips in splits)
    rows = np.concatenate([train, test])
    found = _encode(encoder, frames.images[rows])
    targets = frames.object_pixels[rows]
    is_test = np.arange(len(rows)) >= len(train)
    return {name: _probe(features, targets, is_test) for name, features in found.items()}


def _pick(frames: PretrainingFrames, clips: Int[Array, " A"]) -> Int[Array, " N"]:
    """Evenly spread frames of some clips in which an object is seen."""
    spans = [(int(frames.clip_starts[clip]), int(frames.clip_lengths[clip])) for clip in clips]
    rows: Array = np.concatenate([np.arange(start, start + length) for start, length in spans])
    is_seen: Array = np.isfinite(frames.object_pixels[rows]).all(axis=2).any(axis=1)
    rows = rows[is_seen]
    step = max(1.0, len(rows) / MAX_FRAMES)
    places: Array = (np.arange(int(len(rows) / step)) * step).astype(np.int64)
    return rows[places]


def _encode(encoder: Encoder, images: UInt8[Array, "N H W 3"]) -> dict[str, Float[Tensor, "N D"]]:
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(images), TILE):
        tile = torch.from_numpy(np.array(images[start : start + TILE]))
        for name, value in _fields(encoder.encode(tile)).items():
            parts.setdefault(name, []).append(value.flatten(1).cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def _fields(features: Features) -> dict[str, Tensor]:
    grid = features.grid
    found = {
        "class_token": features.class_token,
        "mean": None if grid is None else grid.mean(dim=(2, 3)),
        "grid": grid,
        "pooled": features.pooled,
    }
    return {name: value for name, value in found.items() if value is not None}


def _probe(
    features: Float[Tensor, "N D"], positions: Float32[Array, "N K 2"], is_test: Bool[Array, " N"]
) -> ProbeResult:
    """Probes each object on the frames in which it is seen and pools what is left unexplained."""
    left = total = distance = mean_distance = 0.0
    num_train = num_test = 0
    for index in range(positions.shape[1]):
        is_seen: Array = np.isfinite(positions[:, index]).all(axis=1)
        train, test = (cast("list[int]", np.flatnonzero(is_seen & side).tolist()) for side in (~is_test, is_test))
        if len(train) < 10 or len(test) < 1:
            continue
        targets = torch.from_numpy(positions[:, index]).double()
        guess = _fit(features[train].double(), targets[train], features[test].double())
        mean = targets[train].mean(dim=0)
        left += float((guess - targets[test]).square().sum())
        total += float((mean - targets[test]).square().sum())
        distance += float((guess - targets[test]).square().sum(dim=1).sqrt().sum())
        mean_distance += float((mean - targets[test]).square().sum(dim=1).sqrt().sum())
        num_train, num_test = num_train + len(train), num_test + len(test)
    if num_test == 0:
        return ProbeResult(float("nan"), float("nan"), float("nan"), features.shape[1], 0, 0)
    r2 = 1 - left / max(total, 1e-12)
    return ProbeResult(r2, distance / num_test, mean_distance / num_test, features.shape[1], num_train, num_test)


def _fit(
    train: Float[Tensor, "N D"], targets: Float[Tensor, "N 2"], test: Float[Tensor, "M D"]
) -> Float[Tensor, "M 2"]:
    """Ridge regression on standardised features, its strength chosen on the last of the training frames.

    In the dual form, which needs the products of frames alone, however many features there are.
    """
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    train, test = (train - mean) / std, (test - mean) / std
    products, across = train @ train.T, test @ train.T
    cut = len(train) - max(1, int(_TUNING * len(train)))
    errors = [
        float((_ridge(products[:cut, :cut], targets[:cut], products[cut:, :cut], share) - targets[cut:]).square().sum())
        for share in _RIDGES
    ]
    return _ridge(products, targets, across, _RIDGES[int(np.argmin(errors))])


def _ridge(
    products: Float[Tensor, "N N"], targets: Float[Tensor, "N 2"], across: Float[Tensor, "M N"], share: float
) -> Float[Tensor, "M 2"]:
    mean = targets.mean(dim=0)
    ridge = share * products.diagonal().mean() * torch.eye(len(products), dtype=products.dtype)
    return across @ cast("Tensor", torch.linalg.solve(products + ridge, targets - mean)) + mean
