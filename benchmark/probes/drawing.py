"""Pictures of what probes found."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from pvrbench.benchmark.probes.scenes import Pair
from pvrbench.benchmark.records.probe_schema import Picture
from pvrbench.envs.base import Array

SCALE = 3
# Right, wrong, and where the point truly is.
GREEN, RED, WHITE = (60, 200, 90), (230, 70, 60), (255, 255, 255)


def draw_matches(pair: Pair, predicted: Float[Array, "K 2"]) -> Picture:
    """Both pictures of a pair side by side: lines to the places found, green within a tenth of the box."""
    side = len(pair.source.image) * SCALE
    canvas = _enlarged(np.concatenate([pair.source.image, pair.target.image], axis=1))
    draw = ImageDraw.Draw(canvas)
    is_right = np.linalg.norm(predicted - pair.counterparts, axis=1) <= 0.1 * pair.boxes
    for point, place, truth, right in zip(pair.points, predicted, pair.counterparts, is_right, strict=True):
        (x, y), (u, v), (s, t) = (SCALE * each for each in (point, place, truth))
        colour = GREEN if right else RED
        draw.line((x, y, side + u, v), fill=colour, width=1)
        draw.ellipse((side + s - 3, t - 3, side + s + 3, t + 3), outline=WHITE)
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        draw.ellipse((side + u - 2, v - 2, side + u + 2, v + 2), fill=colour)
    return Picture(
        title=f"Correspondence, another {pair.kind}" if pair.kind != "later" else "Correspondence, later",
        jpeg=_jpeg(canvas),
    )


def draw_row(title: str, images: list[UInt8[Array, "H W 3"]]) -> Picture:
    """Pictures side by side, enlarged."""
    return Picture(title=title, jpeg=_jpeg(_enlarged(np.concatenate(images, axis=1))))


def _enlarged(image: UInt8[Array, "H W 3"]) -> Image.Image:
    height, width = image.shape[:2]
    return Image.fromarray(image).resize((SCALE * width, SCALE * height), Image.Resampling.NEAREST)


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
