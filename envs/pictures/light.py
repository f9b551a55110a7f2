"""Looks that change the light. Each function changes the model of the pictures in place, never the physics model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# mujoco.mjtTexture: all but the sky box.
SURFACE_TEXTURES = (0, 1)


def leave(model: Any, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """The nominal look: nothing changes."""


def scale_light(model: Any, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Multiplies the ambient and diffuse light of all lamps and of the headlight by `options["factor"]`.

    OpenGL cuts the light on a textured surface off at full strength before it applies the texture, and in both suites
    most surfaces are there already. So the pixels of surface textures, as shares of 255, are raised to the power
    `options["gamma"]`: below 1 they get brighter, and white stays white.
    """
    factor, headlight = options["factor"], model.vis.headlight
    for light in (model.light_diffuse, model.light_ambient, headlight.diffuse, headlight.ambient):
        light[:] = np.clip(light * factor, 0.0, 1.0)
    if options["gamma"] == 1.0:
        return
    table = np.round(255.0 * (np.arange(256) / 255.0) ** options["gamma"]).astype(np.uint8)
    for texture in np.flatnonzero(np.isin(model.tex_type, SURFACE_TEXTURES)):
        start = int(model.tex_adr[texture])
        stop = start + int(model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture])
        model.tex_data[start:stop] = table[model.tex_data[start:stop]]


def cast_light(model: Any, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Makes all lamps shine from one side.

    Their directions become straight down, turned by `options["turn"]` radians about the world's x axis: positive
    shines from the side of positive y. The headlight, which shines from the camera, is multiplied by
    `options["headlight"]`, so that the side away from the lamps gets darker.
    """
    turn, share, headlight = options["turn"], options["headlight"], model.vis.headlight
    model.light_dir[:] = [0.0, -np.sin(turn), -np.cos(turn)]
    headlight.diffuse[:] *= share
    headlight.ambient[:] *= share
