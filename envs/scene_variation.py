"""Seeded looks of a scene: light, colours and camera. Pictures alone are varied, never the physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from envs.rendering import TargetCamera, ViewRenderer

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Arrays of a picture model that carry its looks. Textures are drawn in the colour of their material, so they vary too.
_LOOKS = ("geom_rgba", "mat_rgba", "light_diffuse", "light_ambient", "light_specular")

# How far a camera is moved, and the point that it looks at, metres.
CAMERA_JITTER_M, TARGET_JITTER_M = 0.06, 0.04


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks that a picture model came with."""

    arrays: dict[str, Array]
    headlight: tuple[Array, Array]


def looks_of(model: Any) -> Looks:
    """A copy of a model's looks."""
    light = model.vis.headlight
    arrays = {name: np.array(getattr(model, name)) for name in _LOOKS}
    return Looks(arrays, (np.array(light.ambient), np.array(light.diffuse)))


def vary(model: Any, looks: Looks, seed: int, strength: float = 1.0) -> None:
    """Gives a picture model other light and colours.

    Every colour is tinted apart, so that objects, table and robot change against one another; the tint of a grey thing
    is a colour. The light changes in brightness, warmth and share of ambient light; the headlight, which comes from
    the camera, changes its direction with the camera.

    Args:
        model: the picture model.
        looks: its own looks, from which all variations start.
        seed: draws the variation.
        strength: 0 gives the looks back as they were.
    """
    rng = np.random.default_rng(seed)
    for name in ("geom_rgba", "mat_rgba"):
        base = looks.arrays[name]
        tint = 1.0 + strength * rng.uniform(-0.45, 0.45, (len(base), 3))
        shift = strength * rng.uniform(-0.12, 0.12, (len(base), 3))
        varied = np.array(base)
        varied[:, :3] = np.clip(base[:, :3] * tint + shift, 0.0, 1.0)
        getattr(model, name)[:] = varied
    brightness, warmth = 1.0 + strength * rng.uniform(-0.4, 0.4), strength * rng.uniform(-0.15, 0.15)
    colour = brightness * np.array([1.0 + warmth, 1.0, 1.0 - warmth])
    for name in ("light_diffuse", "light_ambient"):
        getattr(model, name)[:] = np.clip(looks.arrays[name] * colour, 0.0, 1.0)
    model.light_specular[:] = looks.arrays["light_specular"] * (1.0 + strength * rng.uniform(-1.0, 0.5))
    ambient, diffuse = looks.headlight
    model.vis.headlight.ambient[:] = np.clip(ambient * (1.0 + strength * rng.uniform(-0.5, 0.5)), 0.0, 1.0)
    model.vis.headlight.diffuse[:] = np.clip(diffuse * (1.0 + strength * rng.uniform(-0.4, 0.4)), 0.0, 1.0)


def jitter(camera: TargetCamera, seed: int) -> TargetCamera:
    """A camera close by that looks nearly the same way."""
    rng = np.random.default_rng(seed)

    def near(place: tuple[float, float, float], reach_m: float) -> tuple[float, float, float]:
        moved: Float64[Array, " 3"] = np.array(place) + rng.uniform(-reach_m, reach_m, 3)
        return float(moved[0]), float(moved[1]), float(moved[2])

    return TargetCamera(near(camera.pos, CAMERA_JITTER_M), near(camera.target, TARGET_JITTER_M))


def dress(renderer: ViewRenderer, looks: Looks, camera: TargetCamera, seed: int) -> None:
    """Varies the looks of a renderer's scene and its camera, all drawn from one seed."""
    vary(renderer.model, looks, seed)
    renderer.look(jitter(camera, seed + 1))
