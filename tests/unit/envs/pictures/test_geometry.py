"""What pictures show, held against the pictures themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pvrbench.envs.pictures.geometry import ROBOT, STATIC, Geometry
from pvrbench.envs.pictures.gl import load_mujoco
from pvrbench.envs.pictures.rendering import Body, ModelCamera, ViewRenderer
from pvrbench.envs.spec import View

# A box that can slide, a wall that hides a part of it from `right`, and an arm with a motor.
SCENE = """
<mujoco>
  <visual><global offwidth="200" offheight="200"/></visual>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="left" pos="0 -1 .4" xyaxes="1 0 0 0 .4 1" fovy="50"/>
    <camera name="right" pos=".8 -.7 .3" xyaxes=".7 .8 0 -.2 .2 1" fovy="60"/>
    <geom type="plane" size="2 2 .1"/>
    <geom type="box" size=".02 .1 .2" pos=".18 -.05 .1"/>
    <body name="box" pos="0 0 .1"><joint type="slide" axis="1 0 0"/><geom type="box" size=".1 .05 .1" rgba="0 .5 0 1"/>
      <body name="lid" pos="0 0 .12"><geom type="box" size=".1 .05 .01"/></body></body>
    <body name="arm" pos="-.3 0 .3"><joint name="turn" type="hinge" axis="0 1 0"/>
      <geom type="capsule" size=".03 .1"/></body>
  </worldbody>
  <actuator><motor joint="turn"/></actuator>
</mujoco>
"""
SIDE = 160


@pytest.fixture(scope="module")
def scene() -> tuple[Any, Any]:
    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def renderer(scene: tuple[Any, Any], camera: str, *, upside_down: bool = False) -> ViewRenderer:
    view = View(camera=camera, image_px=SIDE, render="full")
    return ViewRenderer(scene[0], view, ModelCamera(camera, upside_down))


def pixels_of(geometry: Geometry, body: int) -> np.ndarray[Any, Any]:
    y, x = np.nonzero(geometry.bodies == body)
    return np.stack([x, y], axis=1)


@pytest.mark.parametrize("upside_down", [False, True])
def test_a_point_lies_in_its_own_picture_where_it_came_from(scene: tuple[Any, Any], upside_down: bool) -> None:
    drawn = renderer(scene, "left", upside_down=upside_down)
    geometry = drawn.geometry(scene[1])
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2)
    pixels = pixels[geometry.bodies[pixels[:, 1], pixels[:, 0]] >= 0]
    places, is_seen = geometry.locate(*geometry.surface(pixels))
    assert np.abs(places - (pixels + 0.5)).max() < 0.5
    assert is_seen.mean() > 0.99
    # A ball half-way to the point that a pixel shows is drawn at this pixel.
    inner = pixels[((pixels > 15) & (pixels < SIDE - 15)).all(axis=1)]
    for x, y in inner[np.linspace(0, len(inner) - 1, 5).astype(int)]:
        place = np.array([[(x + 0.5) / SIDE, (y + 0.5) / SIDE]])
        point = geometry.pinhole.unproject(place, 0.5 * geometry.depth[[y], [x]].astype(np.float64))[0]
        where = (float(point[0]), float(point[1]), float(point[2]))
        ball = Body(shape="SPHERE", size=(0.012, 0.0, 0.0), pos=where, rgb=(1.0, 0.0, 0.0), glow=1.0)
        image = drawn.render(scene[1], [ball]).astype(int)
        red = np.argwhere((image[..., 0] > 150) & (image[..., 1] < 60))
        assert len(red) >= 4
        assert np.abs(red.mean(axis=0)[::-1] - (x, y)).max() < 0.5
    drawn.close()


def test_bodies_are_static_robot_or_object(scene: tuple[Any, Any]) -> None:
    drawn = renderer(scene, "left")
    geometry = drawn.geometry(scene[1])
    drawn.close()
    model = scene[0]
    box, lid, arm = (int(model.body(name).id) for name in ("box", "lid", "arm"))
    assert geometry.kinds.tolist() == [STATIC, box, box, ROBOT]
    assert {int(kind) for kind in np.unique(geometry.seen)} == {STATIC, box, ROBOT}
    assert len(pixels_of(geometry, lid)) > 0
    assert len(pixels_of(geometry, arm)) > 0


def test_hidden_points_are_left_out(scene: tuple[Any, Any]) -> None:
    """From the right a wall hides a part of the box: its points are inside the picture and not seen."""
    left, right = renderer(scene, "left"), renderer(scene, "right")
    here, there = left.geometry(scene[1]), right.geometry(scene[1])
    left.close()
    right.close()
    box = int(scene[0].body("box").id)
    bodies, points = here.surface(pixels_of(here, box))
    places, is_seen = there.locate(bodies, points)
    is_inside = (places > 0).all(axis=1)
    assert 0.05 < is_seen[is_inside].mean() < 0.95
    x, y = places[is_seen].astype(int).T
    assert (there.bodies[y, x] == box).all()
    # What is seen there and here comes back to its pixel, within the rounding of the pixel there.
    back, _ = here.locate(*there.surface(np.stack([x, y], axis=1)))
    assert np.median(np.linalg.norm(back - (pixels_of(here, box)[is_seen] + 0.5), axis=1)) < 1.0
    # A point of the front side that is hidden lies behind what its pixel shows.
    world = here.body_pos[bodies] + np.einsum("kij,kj->ki", here.body_mat[bodies], points)
    depth = there.pinhole.project(world)[1]
    x, y = places[is_inside & ~is_seen].astype(int).T
    assert np.median(depth[is_inside & ~is_seen] - there.depth[y, x]) > 0.01


def test_points_move_with_their_bodies(scene: tuple[Any, Any]) -> None:
    mujoco = load_mujoco()
    model = scene[0]
    moved = mujoco.MjData(model)
    moved.qpos[0] = -0.1
    mujoco.mj_forward(model, moved)
    drawn = renderer(scene, "left")
    before, after = drawn.geometry(scene[1]), drawn.geometry(moved)
    drawn.close()
    box = int(model.body("box").id)
    pixels = pixels_of(before, box)
    places, is_seen = after.locate(*before.surface(pixels))
    assert is_seen.mean() > 0.8
    shift = places[is_seen] - (pixels[is_seen] + 0.5)
    assert (shift[:, 0] < -5).all()
    assert np.abs(shift[:, 1]).max() < 1.0
