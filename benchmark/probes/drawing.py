"""Pictures of what probes found."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from pvrbench.benchmark.probes.scenes import Pair
from pvrbench.benchmark.records.probe_schema import Picture
from pvrbench.envs.base import Array

SCALE = 3
# Right, wrong, and where the point truly is.
GREEN, RED, WHITE = (60, 200, 90), (230, 70, 60), (255, 255, 255)
BLACK, DEEP_BLUE = (0, 0, 0), (8, 48, 107)


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


def draw_rows(title: str, rows: Sequence[Sequence[UInt8[Array, "H W 3"]]], side: int) -> Picture:
    """Rows of pictures of one size, each picture resized to a square of `side` pixels."""
    resized = [[np.asarray(Image.fromarray(image).resize((side, side))) for image in row] for row in rows]
    canvas = np.concatenate([np.concatenate(row, axis=1) for row in resized])
    return Picture(title=title, jpeg=_jpeg(Image.fromarray(canvas)))


def draw_heat(title: str, values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> Picture:
    """A table of numbers as a heat map, dark where they are large."""
    cell, left, top = (64, 30), 80, 24
    numbers = np.array(values)
    shares = (numbers - numbers.min()) / max(float(np.ptp(numbers)), 1e-9)
    canvas = Image.new("RGB", (left + cell[0] * len(columns), top + cell[1] * len(rows)), WHITE)
    draw = ImageDraw.Draw(canvas)
    for x, name in enumerate(columns):
        draw.text((left + cell[0] * (x + 0.5), top / 2), name, fill=BLACK, anchor="mm")
    for y, name in enumerate(rows):
        draw.text((left - 8, top + cell[1] * (y + 0.5)), name, fill=BLACK, anchor="rm")
        for x in range(len(columns)):
            share = float(shares[y, x])
            colour = tuple(round(255 + share * (dark - 255)) for dark in DEEP_BLUE)
            corner = left + cell[0] * x, top + cell[1] * y
            draw.rectangle((*corner, corner[0] + cell[0] - 2, corner[1] + cell[1] - 2), fill=colour)
            middle = corner[0] + cell[0] / 2, corner[1] + cell[1] / 2
            draw.text(middle, f"{numbers[y, x]:.2f}", fill=WHITE if share > 0.5 else BLACK, anchor="mm")
    return Picture(title=title, jpeg=_jpeg(canvas))


def _enlarged(image: UInt8[Array, "H W 3"]) -> Image.Image:
    height, width = image.shape[:2]
    return Image.fromarray(image).resize((SCALE * width, SCALE * height), Image.Resampling.NEAREST)


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
