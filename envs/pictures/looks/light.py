"""Looks that change the light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pvrbench.envs.pictures.looks.scene import LookScene, texture_pixels

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# mujoco.mjtTexture: all but the sky box.
SURFACE_TEXTURES = (0, 1)
# Half the opening of a lamp.
OPENING_DEG = 80.0


def scale_light(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Multiplies the ambient and diffuse light of all lamps and of the headlight by `options["factor"]`.

    OpenGL cuts the light on a textured surface off at full strength before it applies the texture, and in both suites
    most surfaces are there already. So the pixels of surface textures, as shares of 255, are raised to the power
    `options["gamma"]`: below 1 they get brighter, and white stays white.
    """
    model, factor = scene.model, options["factor"]
    headlight = model.vis.headlight
    for light in (model.light_diffuse, model.light_ambient, headlight.diffuse, headlight.ambient):
        light[:] = np.clip(light * factor, 0.0, 1.0)
    if options["gamma"] == 1.0:
        return
    table = np.round(255.0 * (np.arange(256) / 255.0) ** options["gamma"]).astype(np.uint8)
    for texture in np.flatnonzero(np.isin(model.tex_type, SURFACE_TEXTURES)):
        pixels = texture_pixels(model, int(texture))
        pixels[:] = table[pixels]


def cast_light(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Puts all lamps into one place at one side of the table, from where they shine on its middle.

    They stand `options["metres"]` from the middle, straight above it but for a turn of `options["turn"]` radians about
    the world's x axis: positive goes to the side of positive y. They shine as spots with an opening of 80 degrees to
    each side, so that what is nearer to them is brighter: parallel light from the left and from the right would look
    the same on a level table. The headlight, which shines from the camera, is multiplied by `options["headlight"]`.
    """
    model, turn = scene.model, options["turn"]
    workspace = scene.scenery.workspace
    middle = np.array(model.stat.center if workspace is None else workspace.centre)
    away = np.array([0.0, np.sin(turn), np.cos(turn)])
    model.light_pos[:], model.light_dir[:] = middle + options["metres"] * away, -away
    # MuJoCo's name of the kind of a lamp depends on its version; 0 is a spot under both.
    getattr(model, "light_type" if hasattr(model, "light_type") else "light_directional")[:] = 0
    model.light_cutoff[:], model.light_exponent[:] = OPENING_DEG, 0.0
    model.light_attenuation[:] = [0.0, 0.0, 1.0 / options["metres"] ** 2]
    for light in (model.vis.headlight.diffuse, model.vis.headlight.ambient):
        light[:] *= options["headlight"]
