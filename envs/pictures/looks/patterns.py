"""Patterns that are drawn into textures: checks, stripes, blotches and wood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Cells in a side of a pattern.
PATTERN_SIDE = 96
WOOD_SIDE = 256
# Years of growth across a texture of wood, and how far their rings stray, in years.
NUM_RINGS, RING_WANDER = 14.0, 1.6


def pattern(height: int, width: int, rng: np.random.Generator) -> UInt8[Array, "H W 3"]:
    """Checks, stripes or blotches in two colours."""
    repeats, angle, kind = rng.integers(2, 13), rng.uniform(0.0, np.pi), rng.integers(3)
    at = (np.arange(PATTERN_SIDE) + 0.5) / PATTERN_SIDE
    cells = (at * repeats).astype(int)
    if kind == 0:
        share = ((cells[:, None] + cells) % 2).astype(float)
    elif kind == 1:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * repeats * (at[:, None] * np.cos(angle) + at * np.sin(angle)))
    else:
        share = rng.random((13, 13))[cells[:, None], cells]
    first, second = rng.uniform(30.0, 235.0, (2, 3))
    return _enlarged((first + share[..., None] * (second - first)).astype(np.uint8), height, width)


def wood(
    height: int, width: int, rng: np.random.Generator, colour: tuple[float, float, float]
) -> UInt8[Array, "H W 3"]:
    """Wood with its grain along the width.

    Args:
        height: of the texture, pixels.
        width: of the texture, pixels.
        rng: draws the grain.
        colour: of the light wood between the rings, red, green and blue in 0..1; the rings are darker.
    """
    at = np.linspace(0.0, 1.0, WOOD_SIDE, endpoint=False)
    phases, sizes = rng.uniform(0.0, 2 * np.pi, (2, 4)), rng.uniform(0.3, 1.0, 4)
    # Slow waves along the grain and across it bend the rings.
    bent = np.zeros((WOOD_SIDE, WOOD_SIDE))
    for number, (along, across, size) in enumerate(zip(*phases, sizes, strict=True), start=1):
        turn = along + 2.0 * np.sin(2 * np.pi * at[:, None] + across)
        bent += size / number * np.sin(2 * np.pi * number * at[None, :] + turn)
    rings = (NUM_RINGS * at[:, None] + RING_WANDER * bent) % 1.0
    fibres = rng.normal(0.0, 0.05, (WOOD_SIDE, 1)) + rng.normal(0.0, 0.02, (WOOD_SIDE, WOOD_SIDE))
    brightness = np.clip(1.0 - 0.45 * rings**2 + fibres, 0.2, 1.15)
    drawn = np.clip(255.0 * brightness[..., None] * np.array(colour), 0.0, 255.0).astype(np.uint8)
    return _enlarged(drawn, height, width)


def _enlarged(small: UInt8[Array, "h w 3"], height: int, width: int) -> UInt8[Array, "H W 3"]:
    side = len(small)
    rows, columns = (np.arange(length) * side // length for length in (height, width))
    return small[rows[:, None], columns]
