"""OpenGL contexts with a scene's meshes and textures, shared by the environments of one scene and process."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pvrbench.envs.pictures.appearance import Appearance, appearance_of, changed_textures
from pvrbench.envs.pictures.bodies import Body
from pvrbench.envs.pictures.gl import RenderError, gl_remedy, load_mujoco, load_triton
from pvrbench.envs.pictures.lean_meshes import simplify_meshes
from pvrbench.envs.pictures.looks.scene import CameraChange, Filter, LookScene, apply_look
from pvrbench.envs.spec import Look, Scenery, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

mujoco: Any = load_mujoco()

_gl_renderer = ""


class Drawing:
    """An OpenGL context with a scene's meshes and textures; environments of one scene and process share it.

    Args:
        renderer: MuJoCo's own.
    """

    def __init__(self, renderer: Any) -> None:
        self.renderer = renderer
        self.num_users = 0
        self.model: Any = renderer.model
        self.base = self.shown = appearance_of(self.model)

    def show(self, appearance: Appearance) -> None:
        """Draws the scene like this from now on; textures are uploaded where their pixels differ."""
        if appearance is self.shown:
            return
        textures = appearance.arrays["tex_data"]
        changed = [] if textures is self.shown.arrays["tex_data"] else changed_textures(self.model, textures)
        appearance.give_to(self.model, with_textures=bool(changed))
        self.upload(changed)
        self.shown = appearance

    def upload(self, textures: Sequence[int]) -> None:
        """Takes over textures that were changed in the model, by their numbers."""
        if textures:
            self.renderer._gl_context.make_current()
        for texture in textures:
            mujoco.mjr_uploadTexture(self.model, self.renderer._mjr_context, texture)

    def with_look(self, nominal: Appearance, look: Look, scenery: Scenery) -> Dress:
        """How a scene is drawn after a look was applied.

        Raises:
            LookError: there is no such look, or the scene lacks what it needs.
        """
        self.show(nominal)
        if look == Look():
            return Dress(nominal)
        model = self.model
        before = np.array(model.light_pos), np.array(model.light_dir)
        scene = LookScene(model, scenery)
        try:
            apply_look(scene, look)
            changed = appearance_of(model, like=nominal)
            after = np.array(model.light_pos), np.array(model.light_dir)
        finally:
            nominal.give_to(model)
            model.light_pos[:], model.light_dir[:] = before
        moved = any(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))
        return Dress(changed, after if moved else None, scene.camera, tuple(scene.bodies), tuple(scene.filters))


@dataclass(frozen=True, slots=True, eq=False)
class Dress:
    """How a scene is drawn under a look.

    Attributes:
        appearance: colours, materials, textures and lights.
        lights: places and directions of all lights, where the look moves them.
        camera: how the camera is moved.
        bodies: foreign bodies, which have no place yet.
        filters: what is done to the finished picture.
    """

    appearance: Appearance
    lights: tuple[Array, Array] | None = None
    camera: CameraChange = field(default_factory=CameraChange)
    bodies: tuple[Body, ...] = ()
    filters: tuple[Filter, ...] = ()


# By scene, size and mode: a context of a robosuite scene takes some 300 MB, and a process makes many environments.
_drawings: dict[tuple[bytes, int, str], Drawing] = {}


def open_drawing(model: Any, view: View) -> Drawing:
    """The context of a scene, size and mode, made where this process has none yet; `close_drawing` gives it back.

    Raises:
        RenderError: OpenGL cannot be had.
    """
    global _gl_renderer  # noqa: PLW0603 - the name of the driver is a fact of the process
    key = (_content(model), view.image_px, view.render)
    if key not in _drawings:
        _drawings[key] = Drawing(_make_renderer(_picture_model(model, view), view))
    drawing = _drawings[key]
    drawing.num_users += 1
    if not _gl_renderer:
        _gl_renderer = _driver_name()
    return drawing


def close_drawing(drawing: Drawing) -> None:
    """Frees a context, if nobody else draws with it."""
    drawing.num_users -= 1
    if drawing.num_users > 0:
        return
    for key in [key for key, found in _drawings.items() if found is drawing]:
        del _drawings[key]
        drawing.renderer.close()


class _Renderer(mujoco.Renderer):
    """MuJoCo's renderer; one that could not be made has nothing to close."""

    _gl_context = None
    _mjr_context = None


def _make_renderer(model: Any, view: View) -> Any:
    load_triton()
    try:
        renderer = _Renderer(model, view.image_px, view.image_px)
    except Exception as error:
        raise RenderError(f"Off-screen OpenGL does not work here. {gl_remedy()} OpenGL said: {error}") from error
    if view.render == "lean":
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    return renderer


def _content(model: Any) -> bytes:
    """Digest of a whole model."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).digest()


def gl_renderer() -> str:
    """Name of the OpenGL renderer of this process; of a throw-away context where none was used yet."""
    global _gl_renderer  # noqa: PLW0603
    if not _gl_renderer:
        model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/></worldbody></mujoco>")
        renderer = _make_renderer(model, View(camera="", image_px=16, render="full"))
        _gl_renderer = _driver_name()
        renderer.close()
    return _gl_renderer


def _driver_name() -> str:
    from OpenGL import GL as untyped_gl  # noqa: N811 - a module, not a constant

    gl: Any = untyped_gl
    name: object = gl.glGetString(gl.GL_RENDERER)
    return name.decode() if isinstance(name, bytes) else "unknown"


def _picture_model(model: Any, view: View) -> Any:
    """A copy of the model for pictures: large enough a frame buffer, and lean where that is asked for."""
    picture = copy.copy(model)
    picture.vis.global_.offwidth = max(int(model.vis.global_.offwidth), view.image_px)
    picture.vis.global_.offheight = max(int(model.vis.global_.offheight), view.image_px)
    if view.render == "lean":
        picture.vis.quality.offsamples = 0
        simplify_meshes(picture)
    return picture
