"""Scripted experts for robosuite: each maps the privileged facts of the present state to an action.

No expert keeps a memory: what to do next follows from where the hand, the fingers and the objects are. So a
policy that sees the same facts can imitate it, and a disturbed expert finds back by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

_FULL_MOVE_M = 0.05
"""Displacement of the hand's goal, in metres, that a full action stands for."""
_OPEN, _CLOSE = -1.0, 1.0


@dataclass(frozen=True, slots=True)
class Style:
    """What differs between two demonstrations of the same initial state.

    Attributes:
        speed: the largest translational action, at most 1.
        offset_m: where the hand heads for before it is near, relative to the point above the object.
        clearance_m: how far above the object the hand travels.
    """

    speed: float
    offset_m: Float64[Array, " 2"]
    clearance_m: float


def draw_style(seed: int) -> Style:
    """The style of one demonstration."""
    rng = np.random.default_rng(seed)
    return Style(
        speed=float(rng.uniform(0.75, 1.0)),
        offset_m=rng.uniform(-0.01, 0.01, 2),
        clearance_m=float(rng.uniform(0.05, 0.07)),
    )


Expert = Callable[[Mapping[str, Array], Style], Float64[Array, " 7"]]


def _move(delta_m: Float64[Array, " 3"], speed: float, gripper: float) -> Float64[Array, " 7"]:
    """An action towards a point at `delta_m` from the hand, no faster than `speed`."""
    move = 1.2 * delta_m / _FULL_MOVE_M
    length = float(np.linalg.norm(move))
    if length > speed:
        move = move * (speed / length)
    return np.concatenate([move, np.zeros(3), [gripper]])


def _lift(facts: Mapping[str, Array], style: Style) -> Float64[Array, " 7"]:
    delta = facts["eef_to_cube"]
    away = float(np.linalg.norm(delta[:2]))
    if away < 0.015 and abs(delta[2]) < 0.014:
        # The fingers meet the cube earlier when it stands askew; only then is it lifted.
        askew = np.sqrt(max(0.0, 0.5 - 0.5 * facts["cube_turn"][0]))
        touch_m = 0.043 * np.sqrt(1.0 + askew)
        held = facts["gripper_qpos"][0] - facts["gripper_qpos"][1] < touch_m + 0.004
        return _move(np.array([0.0, 0.0, 0.1]) if held else delta, style.speed, _CLOSE)
    # A funnel: the closer above the cube, the lower.
    rise = float(np.clip(2.0 * (away - 0.008), 0.0, style.clearance_m))
    offset = np.append(style.offset_m * min(1.0, away / 0.05), 0.0)
    return _move(delta + offset + [0.0, 0.0, rise], style.speed, _OPEN)


def _door(facts: Mapping[str, Array], style: Style) -> Float64[Array, " 7"]:
    hinge, latch = facts["door_joints"]
    cos, sin = facts["door_turn"]
    outward = np.array([sin, -cos, 0.0])
    # The hand is wide across the fingers: it keeps a little off the panel and still straddles the lever.
    delta = facts["eef_to_handle"] + 0.018 * outward
    away = float(np.linalg.norm(delta[:2]))
    low_enough = -0.035 if latch > 0.1 else -0.02
    if away < 0.035 and delta[2] > low_enough:
        turning = -np.array([np.sin(latch) * cos, np.sin(latch) * sin, np.cos(latch)])
        pull = 1.0 if hinge > 0.06 else float(np.clip((latch - 1.2) / 0.2, 0.0, 1.0))
        return _move(0.1 * ((1.0 - pull) * turning + pull * outward), style.speed, _CLOSE)
    rise = float(np.clip(2.0 * (away - 0.01), 0.0, style.clearance_m + 0.04))
    if away > 0.05 and delta[2] > -0.07:
        # Beside the lever and too low: straight up first.
        return _move(np.array([0.0, 0.0, delta[2] + rise]), style.speed, _OPEN)
    offset = np.append(style.offset_m * min(1.0, away / 0.05), 0.0)
    return _move(delta + offset + [0.0, 0.0, rise], style.speed, _OPEN)


EXPERTS: Mapping[str, Expert] = {"Lift": _lift, "Door": _door}
"""By robosuite's name of the environment."""
