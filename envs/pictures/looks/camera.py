"""Looks that move the camera, each in a direction that its seed draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from pvrbench.envs.pictures.looks.scene import LookScene

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray


def shift_camera(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Moves the camera by `options["metres"]`; it goes on looking in the same direction."""
    scene.camera.shift_m += options["metres"] * _direction(rng)


def turn_camera(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Turns the camera on the spot by `options["radians"]`."""
    scene.camera.turn_rad += options["radians"] * _direction(rng)


def widen_camera(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:  # noqa: ARG001
    """Adds `options["degrees"]` to the vertical field of view."""
    scene.camera.fov_deg += options["degrees"]


def _direction(rng: np.random.Generator) -> Float64[Array, " 3"]:
    drawn = rng.normal(size=3)
    return drawn / np.linalg.norm(drawn)
