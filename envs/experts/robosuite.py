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
_FULL_TURN_RAD = 0.5
"""Turn of the hand's goal, in radians, that a full action stands for."""
_OPEN, _CLOSE = -1.0, 1.0
_UP = np.array([0.0, 0.0, 0.1])


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
        offset_m=rng.uniform(-0.02, 0.02, 2),
        clearance_m=float(rng.uniform(0.04, 0.08)),
    )


Facts = Mapping[str, Array]
"""Named vectors of the present state in metres and radians, as the adapter reads them."""

Expert = Callable[[Facts, Style], Float64[Array, " 7"]]


def _act(
    delta_m: Float64[Array, " 3"], turn_rad: Float64[Array, " 3"], gripper: float, style: Style
) -> Float64[Array, " 7"]:
    """An action towards a point at `delta_m` from the hand and a turn about it, no faster than the style."""
    move = 1.2 * delta_m / _FULL_MOVE_M
    move /= max(1.0, float(np.linalg.norm(move)) / style.speed)
    turn = turn_rad / _FULL_TURN_RAD
    turn /= max(1.0, float(np.linalg.norm(turn)) / (0.5 * style.speed))
    return np.concatenate([move, turn, [gripper]])


def _level(facts: Facts, yaw_rad: float) -> Float64[Array, " 3"]:
    """The turn that points the hand straight down and turns it by `yaw_rad` about the vertical.

    Nothing else brings the hand back: the controller holds whatever orientation it has drifted to, and a drift that
    differs between episodes would tell an imitator the time instead of the state.
    """
    x, y, z, w = facts["eef_quat"]
    return np.array([-2.0 * (y * z - w * x), 2.0 * (x * z + w * y), yaw_rad])


def _straight(facts: Facts) -> Float64[Array, " 3"]:
    """The turn that points the hand straight down with the fingers closing across the robot."""
    x, y, z, w = facts["eef_quat"]
    fingers = np.arctan2(1.0 - 2.0 * (x * x + z * z), 2.0 * (x * y - w * z))
    # Either finger may be on either side.
    return _level(facts, -float(np.arctan2(np.sin(2.0 * fingers - np.pi), np.cos(2.0 * fingers - np.pi))) / 2.0)


def _from_above(delta_m: Float64[Array, " 3"], style: Style, travel_m: float) -> Float64[Array, " 3"]:
    """The way to a point that is reached from above: the closer over it, the lower.

    Args:
        delta_m: from what moves to the point.
        style: adds its offset while far away.
        travel_m: height above the point at which the way leads when far away.
    """
    away = float(np.linalg.norm(delta_m[:2]))
    rise = float(np.clip(2.0 * (away - 0.008), 0.0, travel_m))
    climb = delta_m[2] + rise
    if away > 0.05 and climb > 0.03:
        # Too low to pass: nearly straight up first.
        return np.array([*(0.1 * delta_m[:2]), climb])
    return delta_m + np.array([*(style.offset_m * min(1.0, away / 0.1)), rise])


def _is_near(delta_m: Float64[Array, " 3"], away_m: float, height_m: float) -> bool:
    return float(np.linalg.norm(delta_m[:2])) < away_m and abs(float(delta_m[2])) < height_m


def _width(facts: Facts) -> float:
    """Distance between the fingers in metres."""
    return float(facts["gripper_qpos"][0] - facts["gripper_qpos"][1])


def _holds_cube(facts: Facts, side_m: float) -> bool:
    """Whether the fingers have met a cube, which they do earlier when it stands askew."""
    askew = np.sqrt(max(0.0, 0.5 - 0.5 * float(facts["cube_turn"][0])))
    return bool(_width(facts) < side_m * np.sqrt(1.0 + askew) + 0.004)


def _lift(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    delta, turn = facts["eef_to_cube"], _straight(facts)
    if not _is_near(delta, 0.015, 0.014):
        return _act(_from_above(delta, style, style.clearance_m), turn, _OPEN, style)
    return _act(_UP if _holds_cube(facts, 0.043) else delta, turn, _CLOSE, style)


def _door(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    hinge, latch = (float(angle) for angle in facts["door_joints"])
    cos, sin = facts["door_turn"]
    outward, turn = np.array([sin, -cos, 0.0]), _straight(facts)
    # The hand is wide across the fingers: it keeps a little off the panel and still straddles the lever.
    delta = facts["eef_to_handle"] + 0.018 * outward
    away = float(np.linalg.norm(delta[:2]))
    if away > 0.035 or delta[2] < (-0.035 if latch > 0.1 else -0.02):
        return _act(_from_above(delta, style, style.clearance_m + 0.04), turn, _OPEN, style)
    downward = -np.array([np.sin(latch) * cos, np.sin(latch) * sin, np.cos(latch)])
    pull = 1.0 if hinge > 0.06 else float(np.clip((latch - 1.2) / 0.2, 0.0, 1.0))
    # On the lever the hand gives way as the lever turns.
    return _act(0.1 * ((1.0 - pull) * downward + pull * outward), np.zeros(3), _CLOSE, style)


def _hand_turn(facts: Facts) -> float:
    """How far the hand has to turn about the vertical, radians in [-pi/2, pi/2]."""
    return float(np.arctan2(facts["hand_turn"][1], facts["hand_turn"][0])) / 2.0


def _wait(way: Float64[Array, " 3"], delta_m: Float64[Array, " 3"], turn_rad: float) -> Float64[Array, " 3"]:
    """Keeps a way from above high while the hand still has to turn."""
    height = float(np.clip(0.2 * (abs(turn_rad) - 0.15), 0.0, 0.06))
    return np.array([way[0], way[1], max(way[2], delta_m[2] + height)])


def _turn_beside(facts: Facts, apart_m: float, side_m: float) -> float:
    """How far the hand turns for a cube, radians: away from the other one, and straight for a cube that fills it."""
    # Only where the cubes stand so close that a finger would land on the other one.
    yaw = _hand_turn(facts) * float(np.clip((0.11 - apart_m) / 0.02, 0.0, 1.0))
    if side_m < 0.045:
        return yaw
    straight = float(np.arctan2(facts["cube_turn"][1], facts["cube_turn"][0])) / 4.0
    return min((straight + quarter * np.pi / 2 for quarter in (-1, 0, 1)), key=lambda turn: abs(turn - yaw))


def _stack(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    return _stack_cube(facts, style, 0.04)


def _stack_either(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    return _stack_cube(facts, style, float(facts["cube_side"][0]))


def _stack_cube(facts: Facts, style: Style, side_m: float) -> Float64[Array, " 7"]:
    delta, goal = facts["eef_to_cube"], facts["cube_to_base"] + np.array([0.0, 0.0, 0.046])
    travel_m, hold = style.clearance_m + 0.02, _level(facts, 0.0)
    is_held = _holds_cube(facts, side_m)
    # Fingers that have begun to open go on, though the cube settles a little.
    if _is_near(goal, 0.012, 0.009) if is_held else _is_near(goal, 0.02, 0.015):
        return _act(_UP if _width(facts) > 0.065 else delta, hold, _OPEN, style)
    if not _is_near(delta, 0.015, 0.014):
        yaw = _turn_beside(facts, float(np.linalg.norm(goal[:2])), side_m)
        way = _wait(_from_above(delta, style, travel_m), delta, yaw)
        return _act(way, _level(facts, yaw), _OPEN, style)
    if not is_held:
        return _act(delta, hold, _CLOSE, style)
    return _act(_from_above(goal, style, travel_m), hold, _CLOSE, style)


def _can(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    # Short of the middle of the compartment, which the arm cannot reach with its hand pointing down.
    delta, goal = facts["eef_to_can"], facts["can_to_goal"] + np.array([-0.04, -0.03, 0.02])
    turn = _straight(facts)
    if _is_near(goal, 0.03, 0.03):
        return _act(_UP if _width(facts) > 0.065 else delta, turn, _OPEN, style)
    if not _is_near(delta, 0.018, 0.02):
        return _act(_from_above(delta, style, style.clearance_m + 0.05), turn, _OPEN, style)
    if _width(facts) > 0.054:
        return _act(delta, turn, _CLOSE, style)
    return _act(_from_above(goal, style, style.clearance_m + 0.09), turn, _CLOSE, style)


def _touch(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    delta = facts["eef_to_object"]
    return _act(_from_above(delta, style, style.clearance_m), _straight(facts), _OPEN, style)


def _place(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    """Takes the object at `eef_to_object` between the fingers and lets go of it at `object_to_goal`."""
    delta, goal = facts["eef_to_object"], facts["object_to_goal"]
    turn, (width_m,) = _straight(facts), facts["grasp_width"]
    if _is_near(goal, 0.03, 0.03):
        return _act(_UP if _width(facts) > 0.065 else delta, turn, _OPEN, style)
    if not _is_near(delta, 0.018, 0.02):
        return _act(_from_above(delta, style, style.clearance_m + 0.05), turn, _OPEN, style)
    if _width(facts) > width_m:
        return _act(delta, turn, _CLOSE, style)
    return _act(_from_above(goal, style, style.clearance_m + 0.12), turn, _CLOSE, style)


def _turn_onto_peg(nut_turn: Float64[Array, " 2"]) -> float:
    """The least turn, in radians, after which the square nut fits the peg and the arm can still reach its handle.

    With the handle on the far side of the peg the hand would be out of the arm's reach.
    """
    yaw = float(np.arctan2(nut_turn[1], nut_turn[0]))
    quarters = round(yaw / (np.pi / 2))
    if quarters == 0:
        quarters = 1 if yaw >= 0.0 else -1
    return quarters * np.pi / 2 - yaw


def _square(facts: Facts, style: Style) -> Float64[Array, " 7"]:
    outward = np.array([*facts["nut_turn"], 0.0])
    delta, across = facts["eef_to_handle"] + 0.005 * outward, _hand_turn(facts)
    if not _is_near(delta, 0.015, 0.014):
        way = _wait(_from_above(delta, style, style.clearance_m), delta, across)
        return _act(way, _level(facts, across), _OPEN, style)
    if _width(facts) > 0.036:
        return _act(delta, _level(facts, across), _CLOSE, style)
    onto_peg = _turn_onto_peg(facts["nut_turn"])
    goal = facts["nut_to_peg"] + np.array([0.0, 0.0, 0.14])
    away = float(np.linalg.norm(goal[:2]))
    is_over_peg = away < 0.005 and abs(onto_peg) < 0.08
    is_on_peg = away < 0.012 and goal[2] > 0.03
    way = np.array([goal[0], goal[1], -0.03]) if is_over_peg or is_on_peg else _from_above(goal, style, 0.05)
    return _act(way, _level(facts, onto_peg), _CLOSE, style)


EXPERTS: Mapping[str, Expert] = {
    "Lift": _lift,
    "Door": _door,
    "Stack": _stack,
    "PickPlaceCan": _can,
    "NutAssemblySquare": _square,
    "ColouredRow": _touch,
    "FourObjects": _place,
    "StackEither": _stack_either,
}
"""By the name of robosuite's environment, or of ours."""
