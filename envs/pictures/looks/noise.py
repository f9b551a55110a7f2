"""Looks that spoil the finished picture: noise, blur and compression. Each is a function of the picture alone."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from pvrbench.envs.pictures.looks.scene import LookScene

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

Picture = UInt8[Array, "H W 3"]


def add_noise(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Adds Gaussian noise of standard deviation `options["sigma"]`, of 255, to every pixel and colour."""
    scene.filters.append(partial(_noisy, seed=int(rng.integers(2**32)), sigma=options["sigma"]))


def blur_motion(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Smears the picture evenly along a line of `options["share"]` of its side, in a direction that the seed draws."""
    scene.filters.append(partial(_smeared, angle=float(rng.uniform(0.0, np.pi)), share=options["share"]))


def compress(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Compresses the picture as JPEG of `options["quality"]`, 1 to 95, and unpacks it."""
    scene.filters.append(partial(_compressed, quality=round(options["quality"])))


def _noisy(picture: Picture, seed: int, sigma: float) -> Picture:
    # Drawn from what the picture shows, so that it is the same whenever the state is seen, and another in the next.
    rng = np.random.default_rng([seed, zlib.crc32(picture.tobytes())])
    noise: Float64[Array, "H W 3"] = rng.normal(0.0, sigma, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def _smeared(picture: Picture, angle: float, share: float) -> Picture:
    side = len(picture)
    num_taps = max(2, round(share * side))
    along = np.linspace(-0.5, 0.5, num_taps) * share * side
    total = np.zeros(picture.shape)
    at = np.arange(side)
    for step in along.tolist():
        row, column = round(step * np.sin(angle)), round(step * np.cos(angle))
        total += picture[np.clip(at + row, 0, side - 1)][:, np.clip(at + column, 0, side - 1)]
    return np.round(total / num_taps).astype(np.uint8)


def _compressed(picture: Picture, quality: int) -> Picture:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=quality)
    return np.array(Image.open(content))
