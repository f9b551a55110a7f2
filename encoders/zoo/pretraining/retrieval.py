"""What does a network take for alike? Frames and their nearest neighbours from other clips, as a picture."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from pvrbench.encoders.base import Encoder
from pvrbench.encoders.zoo.pretraining.base import Array, PretrainingFrames
from pvrbench.encoders.zoo.pretraining.sampling import split_clips

NUM_QUERIES = 6
NUM_NEIGHBOURS = 5
_MAX_FRAMES = 2000
_TILE = 32
_GAP_PX = 4


def retrieval_picture(encoder: Encoder, frames: PretrainingFrames, held_out: float) -> UInt8[Array, "H W 3"]:
    """Rows of a held-out frame and, after a gap, the training frames with the most similar features.

    Args:
        encoder: a frozen encoder; compared is the cosine of its class token, or of its mean grid.
        frames: the frames.
        held_out: share of the clips that were held out.
    """
    train_clips, held_out_clips = split_clips(len(frames.clip_starts), held_out)
    spans = [(int(frames.clip_starts[clip]), int(frames.clip_lengths[clip])) for clip in train_clips]
    rows: Array = np.concatenate([np.arange(start, start + length) for start, length in spans])
    rows = rows[:: max(1, len(rows) // _MAX_FRAMES)]
    chosen = held_out_clips[np.linspace(0, len(held_out_clips) - 1, NUM_QUERIES).astype(np.int64)]
    queries: Array = frames.clip_starts[chosen] + frames.clip_lengths[chosen] // 2
    similar = _vectors(encoder, frames.images[queries]) @ _vectors(encoder, frames.images[rows]).T
    nearest = cast("list[list[int]]", similar.topk(min(NUM_NEIGHBOURS, len(rows)), dim=1).indices.tolist())
    gap: Array = np.full((frames.images.shape[1], _GAP_PX, 3), 255, np.uint8)
    lines = [
        np.concatenate([frames.images[query], gap, *frames.images[rows[line]]], axis=1)
        for query, line in zip(queries, nearest, strict=True)
    ]
    return np.concatenate(lines)


def spread(encoder: Encoder, frames: PretrainingFrames) -> float:
    """Share of the features' mean square that differs between frames; near 0 where all frames look the same."""
    step = max(1, len(frames.images) // 256)
    vectors = torch.cat([_summary(encoder, frames.images[i : i + 1]) for i in range(0, len(frames.images), step)])
    return float(vectors.var(dim=0).sum() / vectors.square().sum(dim=1).mean())


def _summary(encoder: Encoder, images: UInt8[Array, "B H W 3"]) -> Tensor:
    found = encoder.encode(torch.from_numpy(np.array(images)))
    vector = found.class_token if found.grid is None or found.class_token is not None else found.grid.mean(dim=(2, 3))
    if vector is None:
        raise ValueError(f"Encoder {encoder.spec.name!r} gives neither a class token nor a grid.")
    return vector.cpu()


def _vectors(encoder: Encoder, images: UInt8[Array, "N H W 3"]) -> Tensor:
    parts = [_summary(encoder, images[start : start + _TILE]) for start in range(0, len(images), _TILE)]
    return functional.normalize(torch.cat(parts), dim=1)
