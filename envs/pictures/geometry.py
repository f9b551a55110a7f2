"""What a picture shows, exactly: the body and the depth at each pixel, and where a surface point is in another picture.

Pixels are given as continuous places `x y` from the picture's top left; pixel `i` covers `i` to `i + 1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from pvrbench.envs.pictures.gl import load_mujoco

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

mujoco: Any = load_mujoco()

# What a pixel shows where no body is.
NOTHING = -1
# Kinds of bodies; other numbers name an object, which can move and is no part of the robot.
STATIC, ROBOT = 0, -1
# A point is seen where the depth of its pixel agrees with its own to this, metres, besides the slope of the surface.
DEPTH_TOLERANCE = 0.002
MAX_SLOPE = 0.01


@dataclass(frozen=True, slots=True)
class Pinhole:
    """A camera.

    Attributes:
        eye: where it stands, metres in the world.
        forward: unit vector of its axis.
        up: unit vector that points up in its picture.
        half: half the picture's side at distance one.
    """

    eye: Float64[Array, " 3"]
    forward: Float64[Array, " 3"]
    up: Float64[Array, " 3"]
    half: float

    def project(self, points: Float64[Array, "K 3"]) -> tuple[Float64[Array, "K 2"], Float64[Array, " K"]]:
        """Places in the picture, 0..1 where they are inside, and depths along the axis in metres."""
        offsets = points - self.eye
        depth = offsets @ self.forward
        across = np.stack([offsets @ np.cross(self.forward, self.up), -offsets @ self.up], axis=1)
        return 0.5 + 0.5 * across / (self.half * np.maximum(depth, 1e-9))[:, None], depth

    def unproject(self, places: Float64[Array, "K 2"], depth: Float64[Array, " K"]) -> Float64[Array, "K 3"]:
        """Points of the world that lie at places of the picture at some depth."""
        across = (2.0 * places - 1.0) * (self.half * depth)[:, None]
        right = np.cross(self.forward, self.up)
        return self.eye + depth[:, None] * self.forward + across[:, :1] * right - across[:, 1:] * self.up


def pinhole_of(scene: Any, *, upside_down: bool) -> Pinhole:
    """The camera of the last picture of a MuJoCo scene; its picture may be turned by half a turn."""
    # MuJoCo keeps two eyes for stereo; a plain picture is seen from between them.
    eyes = scene.camera
    up = np.array(eyes[0].up, np.float64)
    return Pinhole(
        eye=(np.array(eyes[0].pos, np.float64) + eyes[1].pos) / 2.0,
        forward=np.array(eyes[0].forward, np.float64),
        up=-up if upside_down else up,
        half=(float(eyes[0].frustum_top) - float(eyes[0].frustum_bottom)) / 2.0 / float(eyes[0].frustum_near),
    )


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a picture shows.

    Attributes:
        pinhole: the camera.
        depth: metres along the camera's axis.
        bodies: number of the body that is seen; `NOTHING` where none is.
        body_pos: positions of all bodies, metres in the world.
        body_mat: rotations of all bodies, from the body's axes to the world's.
        kinds: for each body `STATIC`, `ROBOT`, or the number of the object that it belongs to.
    """

    pinhole: Pinhole
    depth: Float32[Array, "H W"]
    bodies: Int[Array, "H W"]
    body_pos: Float64[Array, "B 3"]
    body_mat: Float64[Array, "B 3 3"]
    kinds: Int[Array, " B"]

    @property
    def seen(self) -> Int[Array, "H W"]:
        """The kind of body at each pixel; pixels without a body count as static."""
        return np.where(self.bodies == NOTHING, STATIC, self.kinds[self.bodies])

    def surface(self, pixels: Int[Array, "K 2"]) -> tuple[Int[Array, " K"], Float64[Array, "K 3"]]:
        """The bodies at the centres of pixels that show one, and the points there in the bodies' own axes, metres."""
        x, y = pixels[:, 0], pixels[:, 1]
        bodies = self.bodies[y, x]
        places = (pixels + 0.5) / len(self.depth)
        world = self.pinhole.unproject(places, self.depth[y, x].astype(np.float64))
        return bodies, np.einsum("kij,ki->kj", self.body_mat[bodies], world - self.body_pos[bodies])

    def locate(
        self, bodies: Int[Array, " K"], points: Float64[Array, "K 3"]
    ) -> tuple[Float[Array, "K 2"], Bool[Array, " K"]]:
        """Where surface points lie in this picture, in pixels, and whether they are seen there.

        A point is seen if its pixel shows the same body at the same depth.

        Args:
            bodies: the body of each point.
            points: the points in the bodies' own axes.
        """
        world = self.body_pos[bodies] + np.einsum("kij,kj->ki", self.body_mat[bodies], points)
        places, depth = self.pinhole.project(world)
        side = len(self.depth)
        is_inside = (depth > 0) & (places >= 0).all(axis=1) & (places < 1).all(axis=1)
        pixels = np.where(is_inside[:, None], places * side, 0.0)
        x, y = pixels.astype(np.int64).T
        found = self.depth[y, x]
        agrees = np.abs(found - depth) <= DEPTH_TOLERANCE + np.minimum(self._slope()[y, x], MAX_SLOPE)
        return pixels, is_inside & (self.bodies[y, x] == bodies) & agrees

    def _slope(self) -> Float32[Array, "H W"]:
        """The greatest step in depth to a neighbour, metres."""
        slope = np.zeros_like(self.depth)
        for axis in (0, 1):
            step = np.abs(np.diff(self.depth, axis=axis))
            low = np.concatenate([step, np.zeros_like(step.take([0], axis))], axis)
            high = np.concatenate([np.zeros_like(step.take([0], axis)), step], axis)
            slope = np.maximum(slope, np.maximum(low, high))
        return slope


@runtime_checkable
class GeometryEnv(Protocol):
    """An environment that says what its pictures show."""

    def geometry(self) -> Geometry:
        """What the picture of the present state shows; the environment must have a view."""
        ...


def render_geometry(renderer: Any, data: Any, *, upside_down: bool) -> Geometry:
    """What the present scene of MuJoCo's renderer shows.

    Args:
        renderer: its scene is up to date.
        data: the state, for the poses of bodies.
        upside_down: whether the picture is turned by half a turn.
    """
    model = renderer.model
    try:
        renderer.enable_depth_rendering()
        depth = renderer.render()
        renderer.enable_segmentation_rendering()
        names, types = np.moveaxis(renderer.render().astype(np.int64), -1, 0)
    finally:
        renderer.disable_depth_rendering()
        renderer.disable_segmentation_rendering()
    is_geom = types == int(mujoco.mjtObj.mjOBJ_GEOM)
    bodies = np.where(is_geom, np.array(model.geom_bodyid)[np.where(is_geom, names, 0)], NOTHING)
    if upside_down:
        depth, bodies = depth[::-1, ::-1], bodies[::-1, ::-1]
    return Geometry(
        pinhole=pinhole_of(renderer.scene, upside_down=upside_down),
        depth=np.ascontiguousarray(depth),
        bodies=np.ascontiguousarray(bodies),
        body_pos=np.array(data.xpos, np.float64),
        body_mat=np.array(data.xmat, np.float64).reshape(-1, 3, 3),
        kinds=kinds_of(model),
    )


def kinds_of(model: Any) -> Int[Array, " B"]:
    """What bodies are: those that cannot move are static, those in a tree with an actuated joint are the robot.

    All other bodies of one tree are one object, with the number of the tree's root.
    """
    roots = np.array(model.body_rootid, np.int64)
    driven = model.actuator_trnid[:, 0][model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)]
    robots = roots[model.jnt_bodyid[driven]] if len(driven) else np.zeros(0, np.int64)
    kinds = np.where(np.isin(roots, robots), ROBOT, roots)
    return np.where((np.array(model.body_weldid) == 0) & (kinds != ROBOT), STATIC, kinds)
