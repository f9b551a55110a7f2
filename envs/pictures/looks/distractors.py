"""The look that puts foreign bodies on the table, and where they stand: out of the robot's way and of all objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from pvrbench.envs.pictures.bodies import Body
from pvrbench.envs.pictures.geometry import Pinhole
from pvrbench.envs.pictures.looks.scene import LookScene, bodies_named
from pvrbench.envs.spec import Scenery

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

SHAPES = ("BOX", "CYLINDER", "SPHERE", "ELLIPSOID")
# Half sizes, metres.
SMALLEST_M, LARGEST_M = 0.025, 0.045
# Places that are tried, and the seed that draws them: the same in all episodes.
NUM_PLACES, PLACES_SEED = 600, 0
# Free space about a body, metres, and the height over the table up to which others are kept clear of.
CLEARANCE_M, HEIGHT_M = 0.015, 0.25
# A body is nearer to the camera than this share of the way to the workspace only where there is no other room: it would
# stand before the objects.
NEAREST = 0.65


def add_distractors(scene: LookScene, rng: np.random.Generator, options: Mapping[str, float]) -> None:
    """Puts `options["count"]` bodies of drawn shapes, sizes and strong colours on the table."""
    for _ in range(round(options["count"])):
        half = rng.uniform(SMALLEST_M, LARGEST_M, 3)
        hue = rng.uniform(0.0, 1.0) + np.array([0.0, 1.0 / 3.0, 2.0 / 3.0])
        colour = 0.5 + 0.45 * np.cos(2 * np.pi * hue)
        scene.bodies.append(
            Body(
                shape=SHAPES[rng.integers(len(SHAPES))],
                size=(float(half[0]), float(half[1]), float(half[2])),
                pos=(0.0, 0.0, 0.0),
                turn=float(rng.uniform(0.0, np.pi)),
                rgb=(float(colour[0]), float(colour[1]), float(colour[2])),
            )
        )


def stand_bodies(bodies: Sequence[Body], model: Any, data: Any, scenery: Scenery, camera: Pinhole) -> tuple[Body, ...]:
    """Gives each body a place beside the workspace that is free in a state, in the camera's sight where there is one.

    Args:
        bodies: what is to stand.
        model: the model.
        data: the state at the beginning of the episode.
        scenery: has the workspace.
        camera: of the picture.
    """
    workspace = scenery.workspace
    if workspace is None:
        return ()
    rng, centre = np.random.default_rng(PLACES_SEED), np.array(workspace.centre)
    places = rng.uniform(-1.0, 1.0, (NUM_PLACES, 2)) * workspace.outer
    places = places[(np.abs(places) > workspace.inner).any(axis=1)] + centre[:2]
    others = _others(model, data, scenery)
    top = centre[2]
    near = (others[:, 2] - others[:, 3] < top + HEIGHT_M) & (others[:, 2] + others[:, 3] > top)
    taken = others[near][:, [0, 1, 3]]
    seen = _visibility(places, centre, camera, others)
    standing: list[Body] = []
    for body in bodies:
        clear = np.linalg.norm(places[:, None] - taken[None, :, :2], axis=2) - taken[:, 2] - body.radius - CLEARANCE_M
        room = clear.min(axis=1)
        # The free place that is seen best; else the freest.
        best = int(np.argmax(np.where(room > 0.0, 1.0 + seen, room - 1.0)))
        x, y = (float(value) for value in places[best])
        standing.append(replace(body, pos=(x, y, workspace.centre[2] + body.half_height)))
        taken = np.concatenate([taken, [[x, y, body.radius]]])
    return tuple(standing)


def _others(model: Any, data: Any, scenery: Scenery) -> Float64[Array, "K 4"]:
    """Balls about the shapes of robot and objects and about marks: x, y, z, radius."""
    still = bodies_named(model, (*scenery.table, *scenery.background))
    moving = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) not in still]
    centres = np.concatenate([data.geom_xpos[moving], data.site_xpos])
    return np.column_stack([centres, np.concatenate([model.geom_rbound[moving], model.site_size[:, 0]])])


def _visibility(
    places: Float64[Array, "P 2"], centre: Float64[Array, " 3"], camera: Pinhole, others: Float64[Array, "K 4"]
) -> Float64[Array, " P"]:
    """How well a body can be seen at each place, 0..1: best where nothing hides another and it is large."""
    points = np.column_stack([places, np.full(len(places), centre[2] + LARGEST_M)])
    at, depth = camera.project(points)
    middle = float(camera.project(centre[None])[1][0])
    inside = (depth > 0.0) & (np.abs(at - 0.5) < 0.42).all(axis=1)
    other_at, other_depth = camera.project(others[:, :3])
    is_before = other_depth > 0.0
    radius = (others[:, 3] / np.maximum(other_depth, 1e-9) / camera.half / 2.0)[is_before]
    own = LARGEST_M / np.maximum(depth, 1e-9) / camera.half / 2.0
    apart = np.linalg.norm(at[:, None] - other_at[None, is_before], axis=2) - radius - own[:, None]
    is_apart = apart.min(axis=1, initial=np.inf) > 0.0
    return inside * (0.3 + 0.3 * (depth > NEAREST * middle) + 0.3 * is_apart + 0.1 * np.minimum(1.0, own / 0.1))
