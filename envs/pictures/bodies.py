"""Bodies that are seen and that physics knows nothing of, drawn into MuJoCo's scene of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pvrbench.envs.pictures.gl import load_mujoco

mujoco: Any = load_mujoco()


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

    @property
    def half_height(self) -> float:
        """Half its height, metres."""
        radius, second, third = self.size
        # MuJoCo gives a radius and half a length for what is round, and three half sides for the others.
        return {"SPHERE": radius, "CYLINDER": second, "CAPSULE": radius + second}.get(self.shape, third)

    @property
    def radius(self) -> float:
        """Radius of the circle around its outline seen from above, metres."""
        is_round = self.shape in {"SPHERE", "CYLINDER", "CAPSULE"}
        return self.size[0] if is_round else float(np.hypot(*self.size[:2]))


def draw_body(scene: Any, body: Body) -> None:
    """Adds a body to MuJoCo's scene of the next picture."""
    drawn = scene.geoms[scene.ngeom]
    cos, sin = np.cos(body.turn), np.sin(body.turn)
    turned = np.array([cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0])
    shape, colour = getattr(mujoco.mjtGeom, f"mjGEOM_{body.shape}"), np.array((*body.rgb, 1.0), np.float32)
    mujoco.mjv_initGeom(drawn, shape, np.array(body.size), np.array(body.pos), turned, colour)
    if body.glow:
        drawn.emission, drawn.specular = body.glow, 0.0
    scene.ngeom += 1
