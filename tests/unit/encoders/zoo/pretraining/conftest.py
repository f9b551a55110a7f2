"""A tiny world for all objectives: coloured squares that move, in clips with captions, and a network of its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.spec import BackboneSpec, ObjectiveSpec, Option

SIDE = 32
LENGTH = 8
COLOURS = {
    "push the red block": (220, 30, 30),
    "lift the green block": (30, 200, 40),
    "turn the blue knob": (40, 60, 230),
}

SMALLER: dict[str, dict[str, Option]] = {
    "mae": {"decoder_width": 32, "decoder_depth": 1},
    "vcond": {"decoder_width": 32, "decoder_depth": 1, "text_width": 16, "text_depth": 1},
    "simclr": {"hidden": 32, "projection": 16, "crop_scale": 0.5, "strength": 0.2},
    "clip": {"text_width": 16, "text_depth": 1, "projection": 16},
    "dino": {
        "hidden": 64,
        "bottleneck": 128,
        "prototypes": 32,
        "local_crops": 2,
        "local_px": 16,
        "momentum": 0.98,
        "warm_teacher_temperature": 0.04,
    },
    "r3m": {"text_width": 16, "text_depth": 1, "hidden": 32},
    "dift": {"vae_channels": "16+16", "unet_channels": "16+32", "noise_seed": 0},
}


def world(num_clips: int = 12, side: int = SIDE) -> PretrainingFrames:
    rng = np.random.default_rng(0)
    images = np.empty((num_clips * LENGTH, side, side, 3), np.uint8)
    places = np.full((num_clips * LENGTH, 2, 2), np.nan, np.float32)
    captions = [list(COLOURS)[clip % len(COLOURS)] for clip in range(num_clips)]
    for clip, caption in enumerate(captions):
        start, end = rng.uniform(0.15, 0.85, (2, 2))
        for step in range(LENGTH):
            index = clip * LENGTH + step
            centre = start + (end - start) * step / (LENGTH - 1)
            picture = np.repeat(np.linspace(60, 160, side)[:, None, None], side, axis=1).repeat(3, axis=2)
            x, y = (round(float(share) * side) for share in centre)
            picture[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6] = COLOURS[caption]
            images[index] = picture.clip(0, 255).astype(np.uint8)
            places[index, 0] = centre
    return PretrainingFrames(
        images,
        np.arange(num_clips) * LENGTH,
        np.full(num_clips, LENGTH),
        tuple(captions),
        places,
        "synthetic",
    )


def tiny(name: str, *, num_steps: int = 6, **recipe: object) -> ObjectiveSpec:
    row = OBJECTIVES[name]
    batch = 4 if row.sampling == "quintets" else 16
    changes: dict[str, object] = {
        "num_samples": num_steps * batch * row.frames_per_item,
        "batch_size": batch,
        "held_out": 0.25,
        "eval_every": 0,
        **recipe,
    }
    return dataclasses.replace(
        row,
        backbone=BackboneSpec(width=32, depth=2, num_heads=2, patch_px=8, image_px=SIDE),
        recipe=dataclasses.replace(row.recipe, **changes),  # pyright: ignore[reportArgumentType]
        options={**row.options, **SMALLER[name]},
    )


@pytest.fixture(scope="session")
def frames() -> PretrainingFrames:
    return world()


@pytest.fixture(scope="session")
def make_frames() -> Callable[..., PretrainingFrames]:
    return world


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., ObjectiveSpec]:
    return tiny
