"""Seeded looks of a scene: light, colours, textures, camera and things about. Pictures alone, never the physics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from pvrbench.envs.pictures.bodies import Body
from pvrbench.envs.pictures.looks.patterns import pattern
from pvrbench.envs.pictures.rendering import TargetCamera, ViewRenderer
from pvrbench.envs.spec import Workspace

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Arrays of a picture model that carry its looks. Textures are drawn in the colour of their material, so they vary too.
_LOOKS = ("geom_rgba", "mat_rgba", "light_diffuse", "light_ambient", "light_specular")

# How far a camera is moved, and the point that it looks at, metres.
CAMERA_JITTER_M, TARGET_JITTER_M = 0.06, 0.04

# mujoco.mjtTexture: all but the sky box, which no picture shows.
_SURFACE_TEXTURES = (0, 1)
# Share of textures that are exchanged.
EXCHANGED = 0.6

# Foreign bodies: at most so many, of such half sizes in metres.
MAX_BODIES, SMALLEST_M, LARGEST_M = 5, 0.015, 0.05
SHAPES = ("BOX", "CAPSULE", "CYLINDER", "ELLIPSOID", "SPHERE")


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks that a picture model came with."""

    arrays: dict[str, Array]
    headlight: tuple[Array, Array]
    textures: Array


def looks_of(model: Any) -> Looks:
    """A copy of a model's looks."""
    light = model.vis.headlight
    arrays = {name: np.array(getattr(model, name)) for name in _LOOKS}
    return Looks(arrays, (np.array(light.ambient), np.array(light.diffuse)), np.array(model.tex_data))


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


def exchange_textures(renderer: ViewRenderer, looks: Looks, seed: int) -> None:
    """Puts patterns of two colours in the place of some of a scene's textures; the others are as they were."""
    rng, model = np.random.default_rng(seed), renderer.model
    model.tex_data[:] = looks.textures
    for texture in range(model.ntex):
        if model.tex_type[texture] in _SURFACE_TEXTURES and rng.random() < EXCHANGED:
            height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
            start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
            size = height * width * channels
            drawn = model.tex_data[start : start + size].reshape(height, width, channels)
            drawn[..., :3] = pattern(height, width, rng)
    renderer.upload_textures(range(model.ntex))


def foreign_bodies(table: Workspace, seed: int) -> list[Body]:
    """Things that stand about on a table, seen and not felt, outside the rectangle in which the robot works."""
    rng = np.random.default_rng(seed)
    bodies: list[Body] = []
    for _ in range(rng.integers(MAX_BODIES + 1)):
        half = rng.uniform(SMALLEST_M, LARGEST_M, 3)
        place = rng.uniform(-1.0, 1.0, 2) * table.outer
        # Pushed out of the rectangle along the axis on which it is nearer to its edge.
        inside = np.abs(place) / table.inner
        if inside.max() < 1.0:
            axis = int(inside.argmax())
            place[axis] = np.sign(place[axis] or 1.0) * rng.uniform(table.inner[axis], table.outer[axis])
        shape, rgb = SHAPES[rng.integers(len(SHAPES))], rng.uniform(0.05, 1.0, 3)
        body = Body(
            shape=shape,
            size=(float(half[0]), float(half[1]), float(half[2])),
            pos=(float(table.centre[0] + place[0]), float(table.centre[1] + place[1]), 0.0),
            turn=float(rng.uniform(0.0, np.pi)),
            rgb=(float(rgb[0]), float(rgb[1]), float(rgb[2])),
        )
        bodies.append(replace(body, pos=(*body.pos[:2], table.centre[2] + body.half_height)))
    return bodies


def dress(renderer: ViewRenderer, looks: Looks, camera: TargetCamera, seed: int) -> None:
    """Varies the light and colours of a renderer's scene and its camera, all drawn from one seed."""
    vary(renderer.model, looks, seed)
    renderer.take_camera(jitter(camera, seed + 1))
