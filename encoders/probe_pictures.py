"""Fixed pictures that an encoder is probed with: the same on every machine and with every version of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

_NUM_PATCHES = 6
_NUM_STRIPES = 8


def probe_pictures(image_px: int, count: int = 3) -> UInt8[Tensor, "B H W 3"]:
    """Different pictures with gradients, coloured patches, edges and noise.

    Integers alone are computed with, and bits are drawn rather than numbers, so that no rounding and no change of a
    generator's methods makes other pictures.

    Args:
        image_px: side of the square pictures in pixels.
        count: number of pictures; the first are the same whatever their number.
    """
    return torch.from_numpy(np.stack([_picture(image_px, index) for index in range(count)]))


def signs(length: int, seed: int) -> Float[Tensor, " N"]:
    """A fixed random sequence of +1 and -1, in float32."""
    bits = np.unpackbits(_random_bytes(seed, -(-length // 8)), count=length)
    return torch.from_numpy(bits).float() * 2 - 1


def _picture(side: int, seed: int) -> UInt8[Array, "H W 3"]:
    drawn = _random_bytes(seed, 64 + side * side * 3).astype(np.int64)
    numbers, noise = drawn[:64], drawn[64:].reshape(side, side, 3)
    y, x = np.mgrid[0:side, 0:side]
    # A gradient between two colours along a diagonal, one in each picture.
    along = (x * (1 + seed % 3) + y)[..., None] * 255 // (side * (2 + seed % 3))
    image = (numbers[:3] * along + numbers[3:6] * (255 - along)) // 255
    for patch in range(_NUM_PATCHES):
        top, left, height, width, *colour = numbers[8 + 7 * patch : 15 + 7 * patch]
        rows = slice(int(top) * side // 256, (int(top) + 32 + int(height) // 4) * side // 256)
        columns = slice(int(left) * side // 256, (int(left) + 32 + int(width) // 4) * side // 256)
        image[rows, columns] = colour
    # Diagonal stripes in the lower half: edges of one direction.
    is_stripe = ((x + (seed + 1) * y) * _NUM_STRIPES // side % 2 == 0) & (y > side // 2)
    image[is_stripe] = image[is_stripe] * 3 // 4
    return np.clip(image + noise % 32 - 16, 0, 255).astype(np.uint8)


def _random_bytes(seed: int, count: int) -> UInt8[Array, " N"]:
    words = np.random.PCG64(seed).random_raw(-(-count // 8))
    return np.asarray(words, dtype="<u8").view(np.uint8)[:count]
