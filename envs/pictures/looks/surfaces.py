"""Looks that change textures and colours of table, background and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pvrbench.envs.pictures.looks.patterns import pattern, wood
from pvrbench.envs.pictures.looks.scene import LookScene, texture_pixels

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

Recolour = Callable[[Array], Array]
"""Makes other colours `H W 3` of 0..255 out of some."""

# Darker objects than this have no colour that could be seen, 0..255.
DARKEST = 90


def paint_table(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Draws a pattern into the table's texture; `options["share"]` 1 replaces it."""
    _paint(scene, scene.geoms_of("table"), options["share"], lambda height, width: pattern(height, width, rng))


def paint_background(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Draws patterns into the textures of floor and walls; `options["share"]` 1 replaces them."""
    _paint(scene, scene.geoms_of("background"), options["share"], lambda height, width: pattern(height, width, rng))


def lay_wood(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Makes the table one of wood of the colour `red`, `green`, `blue`, 0..1; `options["share"]` 1 does so wholly."""
    colour = options["red"], options["green"], options["blue"]
    _paint(scene, scene.geoms_of("table"), options["share"], lambda height, width: wood(height, width, rng, colour))


def recolour_objects(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Turns the hues of all objects by `options["degrees"]` one way or the other, and makes grey ones coloured.

    All turn by the same angle, so that objects of different colours stay different. Objects that are made of the
    table's material keep it. Saturation becomes at least `options["saturation"]`, 0..1. What is grey takes a hue that
    the seed draws, and what is nearly black gets brighter.
    """
    turn = rng.choice([-1.0, 1.0]) * options["degrees"] / 360.0
    hue, saturation = rng.uniform(), options["saturation"]

    def recolour(colours: UInt8[Array, "H W 3"]) -> UInt8[Array, "H W 3"]:
        old = np.array(Image.fromarray(np.ascontiguousarray(colours)).convert("HSV")).astype(float)
        is_grey = old[..., 1] < 0.15 * 255
        hues = np.where(is_grey, 256.0 * hue, old[..., 0]) + 256.0 * turn
        strong, bright = np.maximum(old[..., 1], 255.0 * saturation), np.maximum(old[..., 2], DARKEST)
        new = np.stack([hues % 256.0, strong, bright], axis=-1)
        return np.array(Image.fromarray(new.astype(np.uint8), "HSV").convert("RGB"))

    others = {int(scene.model.geom_matid[geom]) for part in ("table", "background") for geom in scene.geoms_of(part)}
    own = [geom for geom in scene.geoms_of("objects") if int(scene.model.geom_matid[geom]) not in others - {-1}]
    _recolour(scene.model, own, lambda: recolour)


def _paint(scene: LookScene, geoms: Sequence[int], share: float, draw: Callable[[int, int], Array]) -> None:
    """Mixes patterns into the textures of some shapes, and their mean colour into what has no texture."""

    def another() -> Recolour:
        def recolour(colours: UInt8[Array, "H W 3"]) -> UInt8[Array, "H W 3"]:
            height, width = colours.shape[:2]
            drawn = draw(height, width) if height * width > 1 else draw(64, 64).mean((0, 1), keepdims=True)
            return np.round((1.0 - share) * colours + share * drawn).astype(np.uint8)

        return recolour

    _recolour(scene.model, geoms, another)


def _recolour(model: Any, geoms: Sequence[int], another: Callable[[], Recolour]) -> None:
    """Recolours the textures of some shapes, and the materials and shapes that have none, each once."""
    materials = sorted({int(model.geom_matid[geom]) for geom in geoms} - {-1})
    textures: dict[int, list[int]] = {
        material: [number for number in np.atleast_1d(np.array(model.mat_texid[material])).tolist() if number >= 0]
        for material in materials
    }
    for texture in sorted({texture for found in textures.values() for texture in found}):
        pixels = texture_pixels(model, texture)
        pixels[..., :3] = another()(pixels[..., :3])
    plain: list[Array] = [model.mat_rgba[material] for material in materials if not textures[material]]
    plain += [model.geom_rgba[geom] for geom in geoms if model.geom_matid[geom] < 0]
    for colour in plain:
        pixel = np.array(np.round(255.0 * colour[None, None, :3]), np.uint8)
        colour[:3] = another()(pixel)[0, 0] / 255.0
