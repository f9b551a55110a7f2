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
from scipy.spatial.transform import Rotation

from pvrbench.envs.pictures.appearance import appearance_of
from pvrbench.envs.pictures.bodies import Body, draw_body
from pvrbench.envs.pictures.context import close_drawing, open_drawing
from pvrbench.envs.pictures.geometry import Geometry, pinhole_of, render_geometry
from pvrbench.envs.pictures.gl import load_mujoco
from pvrbench.envs.pictures.looks.distractors import stand_bodies
from pvrbench.envs.pictures.looks.scene import CameraChange
from pvrbench.envs.spec import Look, Scenery, View

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


class ViewRenderer:
    """Renders one view of one model.

    Args:
        model: the physics model; it is copied where the view asks for changes.
        view: camera, size, render mode and look.
        camera: what the view's camera name means; by default the model's camera of that name.
        scenery: what the scene consists of, for looks that change parts of it.

    Raises:
        RenderError: OpenGL cannot be had.
        LookError: there is no such look, or the scene cannot have it.
    """

    def __init__(self, model: Any, view: View, camera: Camera | None = None, scenery: Scenery | None = None) -> None:
        camera = camera or ModelCamera(view.camera)
        self._upside_down = isinstance(camera, ModelCamera) and camera.upside_down
        self._camera = camera.name if isinstance(camera, ModelCamera) else _free_camera(camera)
        self._look, self._scenery = Look.parse(view.look), scenery or Scenery()
        self._standing: tuple[Body, ...] | None = None
        self._is_closed = False
        self._drawing = open_drawing(model, view)
        self._renderer = self._drawing.renderer
        self._nominal = self._drawing.base
        try:
            self._dress = self._drawing.with_look(self._nominal, self._look, self._scenery)
        except BaseException:
            self.close()
            raise

    def take_over(self, model: Any) -> None:
        """Takes over the colours, materials, lights and textures that a reset wrote into the physics model.

        Environments call it at the end of `reset`: pictures are drawn from a copy of the model. Nothing is copied
        where nothing changed. Foreign bodies of a look get their places with the next picture.

        Args:
            model: the physics model.
        """
        self._standing = None
        if not self._nominal.equals(model):
            self._nominal = appearance_of(model, like=self._drawing.base)
            self._dress = self._drawing.with_look(self._nominal, self._look, self._scenery)

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
            draw_body(self._renderer.scene, body)
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
            body = Body(shape="SPHERE", size=size, pos=(float(x), float(y), float(z)), rgb=colour, glow=1.0)
            draw_body(scene, body)
        return self._picture()

    def _update(self, data: Any) -> None:
        dress, scene = self._dress, self._renderer.scene
        self._drawing.show(dress.appearance)
        self._renderer.update_scene(data, camera=self._camera)
        if dress.lights is not None:
            self._move_lights(*dress.lights)
        if not dress.camera.is_none:
            _move_camera(scene, dress.camera, has_headlight=bool(self.model.vis.headlight.active))
        if dress.bodies and self._standing is None:
            eye = pinhole_of(scene, upside_down=self._upside_down)
            self._standing = stand_bodies(dress.bodies, self.model, data, self._scenery, eye)
        for body in self._standing or ():
            draw_body(scene, body)

    def _move_lights(self, pos: Float64[Array, "L 3"], direction: Float64[Array, "L 3"]) -> None:
        # The scene's lights come from the state, so a look moves them here; the headlight, if it is on, is the first.
        model, lights = self.model, self._renderer.scene.lights
        active = [light for light in range(model.nlight) if model.light_active[light]]
        for number, light in enumerate(active, start=int(bool(model.vis.headlight.active))):
            if model.light_bodyid[light] == 0 and number < self._renderer.scene.nlight:
                lights[number].pos[:], lights[number].dir[:] = pos[light], direction[light]

    def _picture(self) -> UInt8[Array, "H W 3"]:
        image: UInt8[Array, "H W 3"] = self._renderer.render()
        image = np.ascontiguousarray(image[::-1, ::-1]) if self._upside_down else image.copy()
        for change in self._dress.filters:
            image = change(image)
        return image

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


def _move_camera(scene: Any, change: CameraChange, *, has_headlight: bool) -> None:
    """Moves the camera of MuJoCo's scene, and the headlight with it."""
    for eye in (scene.camera[0], scene.camera[1]):
        forward, up = np.array(eye.forward, np.float64), np.array(eye.up, np.float64)
        axes = np.stack([np.cross(forward, up), up, forward])
        turn = Rotation.from_rotvec(change.turn_rad @ axes)
        eye.pos[:] = eye.pos + change.shift_m @ axes
        eye.forward[:], eye.up[:] = turn.apply(forward), turn.apply(up)
        half = float(np.arctan(eye.frustum_top / eye.frustum_near))
        wider = np.tan(half + np.radians(change.fov_deg) / 2.0) / np.tan(half)
        eye.frustum_top, eye.frustum_bottom = eye.frustum_top * wider, eye.frustum_bottom * wider
    if has_headlight and scene.nlight:
        left, right = scene.camera[0], scene.camera[1]
        scene.lights[0].pos[:], scene.lights[0].dir[:] = (left.pos + right.pos) / 2.0, left.forward
