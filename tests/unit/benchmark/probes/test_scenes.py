"""Scenes without an object to look for are refused by name, with what to do."""

from __future__ import annotations

import numpy as np
import pytest

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.probes.base import ProbeError
from pvrbench.benchmark.probes.scenes import Shot, check_objects
from pvrbench.envs.pictures.geometry import ROBOT, STATIC, Geometry, Pinhole
from pvrbench.envs.spec import View

VIEW = View(camera="left_cap2", image_px=32, render="lean")


def shot(kinds: list[int], num_pixels: int) -> Shot:
    """A picture of three bodies, of which the last one covers some pixels."""
    bodies = np.zeros((32, 32), np.int64)
    bodies.flat[:num_pixels] = 2
    axis = np.eye(3)
    geometry = Geometry(
        pinhole=Pinhole(np.zeros(3), axis[0], axis[2], 0.5),
        depth=np.ones((32, 32), np.float32),
        bodies=bodies,
        body_pos=np.zeros((3, 3)),
        body_mat=np.tile(axis, (3, 1, 1)),
        kinds=np.array(kinds),
    )
    return Shot(np.zeros((32, 32, 3), np.uint8), geometry)


def test_objects_that_are_seen_are_accepted() -> None:
    spec = tasks()["metaworld/reach-v3"]
    check_objects(spec, VIEW, [shot([STATIC, ROBOT, 7], 0), shot([STATIC, ROBOT, 7], 40)])


@pytest.mark.parametrize(
    ("kind", "num_pixels", "text"),
    [
        (STATIC, 40, "reach-v3 has no object that can move"),
        (ROBOT, 40, "reach-v3 has no object that can move"),
        (7, 0, "left_cap2 of metaworld/reach-v3 sees no object"),
        (7, 5, "Choose another one of left_cap2, right_cap2"),
    ],
)
def test_nothing_to_look_for_is_refused(kind: int, num_pixels: int, text: str) -> None:
    with pytest.raises(ProbeError, match=text):
        check_objects(tasks()["metaworld/reach-v3"], VIEW, [shot([STATIC, ROBOT, kind], num_pixels)] * 2)
