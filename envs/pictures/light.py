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
    most surfaces are there already. So the textures of surfaces are multiplied by `options["texture"]`.
    """
    factor, headlight = options["factor"], model.vis.headlight
    for light in (model.light_diffuse, model.light_ambient, headlight.diffuse, headlight.ambient):
        light[:] = np.clip(light * factor, 0.0, 1.0)
    if options["texture"] == 1.0:
        return
    table = np.clip(np.arange(256) * options["texture"], 0, 255).astype(np.uint8)
    for texture in np.flatnonzero(np.isin(model.tex_type, SURFACE_TEXTURES)):
        start = int(model.tex_adr[texture])
        stop = start + int(model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture])
        model.tex_data[start:stop] = table[model.tex_data[start:stop]]


def cast_light(model: Any, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Makes all lamps shine from one side.

    Their directions become straight down, turned by `options["turn"]` radians about the world's x axis: positive
    shines from the side of positive y. The headlight, which shines from the camera, is multiplied by
    `options["headlight"]`; what it loses goes to the lamps.
    """
    turn, share, headlight = options["turn"], options["headlight"], model.vis.headlight
    model.light_dir[:] = [0.0, -np.sin(turn), -np.cos(turn)]
    lost = (1.0 - share) * np.array(headlight.diffuse)
    headlight.diffuse[:] *= share
    headlight.ambient[:] *= share
    if model.nlight:
        model.light_diffuse[:] = np.clip(model.light_diffuse + lost / model.nlight, 0.0, 1.0)
