"""Pictures of MuJoCo scenes, apart from physics: the renderer may use another model than the simulation.

`full` is the simulator's own picture. `lean` is made for machines without a GPU: a copy of the model, used for
pictures alone, has no shadows, multi-sampling or reflections, and its visual meshes keep a fraction of their faces.
The physics model is never touched. The two are different observations and are never mixed in one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, UInt8

from pvrbench.envs.pictures.appearance import appearance_of
from pvrbench.envs.pictures.context import close_drawing, open_drawing
from pvrbench.envs.pictures.geometry import Geometry, pinhole_of, render_geometry
from pvrbench.envs.pictures.gl import load_mujoco
from pvrbench.envs.spec import Look, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Vertical part of the viewing direction beyond which a camera looks down and the world has no "up" in its picture.
LOOKS_DOWN = 0.97


mujoco: Any = load_mujoco()


@dataclass(frozen=True, slots=True)
class ModelCamera:
    """A camera of the model.

    Attributes:
        name: its name.
        upside_down: whether its picture has to be turned by half a turn.
    """

    name: str
    upside_down: bool = False


@dataclass(frozen=True, slots=True)
class TargetCamera:
    """A camera that the model lacks: at a place, looking at another, upright.

    Attributes:
        pos: where it stands, metres in the world.
        target: what it looks at.
    """

    pos: tuple[float, float, float]
    target: tuple[float, float, float]


Camera = ModelCamera | TargetCamera


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A thing that is seen and that physics knows nothing of.

    Attributes:
        shape: `SPHERE`, `CAPSULE`, `ELLIPSOID`, `CYLINDER` or `BOX`.
        size: half sizes as MuJoCo has them for the shape, metres.
        pos: its centre, metres in the world.
        turn: radians about the world's vertical.
        rgb: colour, 0..1.
        glow: light of its own, 0..1; a body that glows has no shine.
    """

    shape: str
    size: tuple[float, float, float]
    pos: tuple[float, float, float]
    rgb: tuple[float, float, float]
    turn: float = 0.0
    glow: float = 0.0


class ViewRenderer:
    """Renders one view of one model.

    Args:
        model: the physics model; it is copied where the view asks for changes.
        view: camera, size, render mode and look.
        camera: what the view's camera name means; by default the model's camera of that name.

    Raises:
        RenderError: OpenGL cannot be had.
        LookError: there is no such look.
    """

    def __init__(self, model: Any, view: View, camera: Camera | None = None) -> None:
        camera = camera or ModelCamera(view.camera)
        self._upside_down = isinstance(camera, ModelCamera) and camera.upside_down
        self._camera = camera.name if isinstance(camera, ModelCamera) else _free_camera(camera)
        self._look = Look.parse(view.look)
        self._is_closed = False
        self._drawing = open_drawing(model, view)
        self._renderer = self._drawing.renderer
        self._nominal = self._drawing.base
        try:
            self._shown, self._light_dir = self._drawing.with_look(self._nominal, self._look)
        except BaseException:
            self.close()
            raise

    def take_over(self, model: Any) -> None:
        """Takes over the colours, materials, lights and textures that a reset wrote into the physics model.

        Environments call it at the end of `reset`: pictures are drawn from a copy of the model. Nothing is copied
        where nothing changed.

        Args:
            model: the physics model.
        """
        if not self._nominal.equals(model):
            self._nominal = appearance_of(model, like=self._drawing.base)
            self._shown, self._light_dir = self._drawing.with_look(self._nominal, self._look)

    @property
    def model(self) -> Any:
        """The model of the pictures; shared by all views of one scene and process, so changes are to be taken back."""
        return self._renderer.model

    def take_camera(self, camera: TargetCamera) -> None:
        """Takes another camera from now on."""
        self._camera, self._upside_down = _free_camera(camera), False

    def project(self, points: Float64[Array, "K 3"]) -> Float64[Array, "K 2"]:
        """Where points of the world lie in the last picture: x from the left, y from the top, 0..1; NaN outside it."""
        place, depth = pinhole_of(self._renderer.scene, upside_down=self._upside_down).project(points)
        inside = (depth > 0) & (place >= 0).all(axis=1) & (place <= 1).all(axis=1)
        return np.where(inside[:, None], place, np.nan)

    def render(self, data: Any, bodies: Sequence[Body] = ()) -> UInt8[Array, "H W 3"]:
        """The picture of a state of the physics model: upright RGB, a fresh array.

        Args:
            data: the state.
            bodies: what else is seen in it.
        """
        self._update(data)
        for body in bodies:
            self._add(body)
        return self._picture()

    def geometry(self, data: Any) -> Geometry:
        """What the picture of a state shows: bodies, depth and the camera.

        Args:
            data: the state.
        """
        self._update(data)
        return render_geometry(self._renderer, data, upside_down=self._upside_down)

    def upload_textures(self, textures: Sequence[int]) -> None:
        """Takes over textures that were changed in the model, by their numbers."""
        self._drawing.upload(textures)

    def render_marks(self, data: Any) -> UInt8[Array, "H W 3"]:
        """The picture with a red ball before the camera and a blue one straight below it in the world.

        It shows whether pictures are upright and their colours in order, whatever the scene looks like
        (`pvrbench.envs.checks`). For a camera that looks straight down, "below" is below in its own picture.
        """
        self._update(data)
        scene = self._renderer.scene
        eye = scene.camera[0]
        forward, up = np.array(eye.forward, np.float64), np.array(eye.up, np.float64)
        # MuJoCo keeps two eyes for stereo; a plain picture is seen from between them.
        position = (np.array(eye.pos, np.float64) + scene.camera[1].pos) / 2.0
        if abs(forward[2]) < LOOKS_DOWN:
            up = np.array([0.0, 0.0, 1.0])
        elif self._upside_down:
            up = -up
        # Close to the camera, where nothing of the scene stands before them.
        distance = 1.3 * float(eye.frustum_near)
        for side, colour in ((0.25, (1.0, 0.0, 0.0)), (-0.25, (0.0, 0.0, 1.0))):
            x, y, z = position + distance * (forward + side * up)
            size = (0.12 * distance, 0.0, 0.0)
            self._add(Body(shape="SPHERE", size=size, pos=(float(x), float(y), float(z)), rgb=colour, glow=1.0))
        return self._picture()

    def _update(self, data: Any) -> None:
        self._drawing.show(self._shown)
        self._renderer.update_scene(data, camera=self._camera)
        if self._light_dir is None:
            return
        # The scene's lights come from the state, so a look turns them here; the headlight, if it is on, is the first.
        model, lights = self.model, self._renderer.scene.lights
        active = [light for light in range(model.nlight) if model.light_active[light]]
        for number, light in enumerate(active, start=int(bool(model.vis.headlight.active))):
            if model.light_bodyid[light] == 0 and number < self._renderer.scene.nlight:
                lights[number].dir[:] = self._light_dir[light]

    def _add(self, body: Body) -> None:
        scene = self._renderer.scene
        drawn = scene.geoms[scene.ngeom]
        cos, sin = np.cos(body.turn), np.sin(body.turn)
        turned = np.array([cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0])
        shape, colour = getattr(mujoco.mjtGeom, f"mjGEOM_{body.shape}"), np.array((*body.rgb, 1.0), np.float32)
        mujoco.mjv_initGeom(drawn, shape, np.array(body.size), np.array(body.pos), turned, colour)
        if body.glow:
            drawn.emission, drawn.specular = body.glow, 0.0
        scene.ngeom += 1

    def _picture(self) -> UInt8[Array, "H W 3"]:
        image: UInt8[Array, "H W 3"] = self._renderer.render()
        return np.ascontiguousarray(image[::-1, ::-1]) if self._upside_down else image.copy()

    def close(self) -> None:
        """Frees the OpenGL context, if nobody else draws with it."""
        if not self._is_closed:
            close_drawing(self._drawing)
        self._is_closed = True


def _free_camera(camera: TargetCamera) -> Any:
    offset = np.subtract(camera.target, camera.pos)
    distance = float(np.linalg.norm(offset))
    free = mujoco.MjvCamera()
    free.type = mujoco.mjtCamera.mjCAMERA_FREE
    free.lookat[:] = camera.target
    free.distance = distance
    free.azimuth = float(np.degrees(np.arctan2(offset[1], offset[0])))
    free.elevation = float(np.degrees(np.arcsin(offset[2] / distance)))
    return free
