"""What a look changes: a scene as pictures are drawn from it, and never the physics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from jaxtyping import Float64, UInt8

from pvrbench.common.reference import resolve
from pvrbench.envs.looks import level_options, look_members
from pvrbench.envs.pictures.bodies import Body
from pvrbench.envs.pictures.geometry import ROBOT, kinds_of
from pvrbench.envs.spec import Look, Scenery

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

Filter = Callable[[Array], Array]
"""Makes another picture `H W 3` of 0..255 out of one; a function of the picture alone."""

# Groups of shapes that MuJoCo draws unless it is told otherwise.
_DRAWN_GROUPS = (0, 1, 2)


@dataclass(slots=True)
class CameraChange:
    """How the camera differs from the task's own.

    Attributes:
        shift_m: to its right, upwards and forwards in its own picture, metres.
        turn_rad: about these three axes, radians: a vector along the axis of one turn, as long as its angle.
        fov_deg: what is added to the vertical field of view, degrees.
    """

    shift_m: Float64[Array, " 3"] = field(default_factory=lambda: np.zeros(3))
    turn_rad: Float64[Array, " 3"] = field(default_factory=lambda: np.zeros(3))
    fov_deg: float = 0.0

    @property
    def is_none(self) -> bool:
        """Whether the camera is the task's own."""
        return not (self.shift_m.any() or self.turn_rad.any() or self.fov_deg)


@dataclass(slots=True)
class LookScene:
    """What a look may change, in place.

    Attributes:
        model: of the pictures, an `mjModel` that physics does not use. Colours, materials, textures, the headlight, and
            whatever of lights that are fixed to the world take effect; positions of bodies and cameras do not.
        scenery: what the scene consists of, as the task says.
        camera: how the camera differs from the task's own.
        bodies: foreign bodies; each stands somewhere free beside the workspace, wherever it says it is, chosen anew at
            the beginning of an episode.
        filters: what is done to the finished picture, in this order.
    """

    model: Any
    scenery: Scenery = field(default_factory=Scenery)
    camera: CameraChange = field(default_factory=CameraChange)
    bodies: list[Body] = field(default_factory=list[Body])
    filters: list[Filter] = field(default_factory=list[Filter])

    def geoms_of(self, part: Literal["table", "background", "objects"]) -> list[int]:
        """Numbers of the drawn shapes of a part of the scene."""
        found = {name: bodies_named(self.model, getattr(self.scenery, name)) for name in ("table", "background")}
        found["objects"] = {
            body
            for body, kind in enumerate(kinds_of(self.model))
            if kind != ROBOT and body not in found["table"] | found["background"]
        }
        return [
            geom
            for geom in range(self.model.ngeom)
            if int(self.model.geom_bodyid[geom]) in found[part] and self._is_drawn(geom)
        ]

    def _is_drawn(self, geom: int) -> bool:
        material = int(self.model.geom_matid[geom])
        colour = self.model.geom_rgba[geom] if material < 0 else self.model.mat_rgba[material]
        return bool(self.model.geom_group[geom] in _DRAWN_GROUPS and colour[3] > 0)


def bodies_named(model: Any, names: tuple[str, ...]) -> set[int]:
    """Numbers of the bodies of some names."""
    return {body for body in range(model.nbody) if model.body(body).name in names}


def texture_pixels(model: Any, texture: int) -> UInt8[Array, "H W C"]:
    """A view of the pixels of a texture: writing to it changes the model."""
    height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
    start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
    return model.tex_data[start : start + height * width * channels].reshape(height, width, channels)


def apply_look(scene: LookScene, look: Look) -> None:
    """Changes a scene, which looks as the simulator has it, to a look.

    Raises:
        LookError: there is no such look, or the scene lacks what it needs.
    """
    if look.axis == "nominal":
        return
    for number, member in enumerate(look_members(look, scene.scenery)):
        apply = cast(
            "Callable[[LookScene, np.random.Generator, Mapping[str, float]], None]", resolve(member.entry_point)
        )
        # All levels draw alike, so that a stronger one changes the same things more.
        apply(scene, np.random.default_rng([look.seed, number]), level_options(Look(member.name, look.level)))
