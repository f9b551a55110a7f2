"""What is read from a robosuite scene: proprioception, and the privileged facts of each task."""

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

Facts = Mapping[str, Array]
"""Named vectors in metres, radians and unit quaternions; concatenated in order they are the state."""

GRIP_SITE = "gripper0_right_grip_site"
"""The point between the fingertips."""

_HAND_BODY = "robot0_right_hand"
_FINGER_JOINTS = ("gripper0_right_finger_joint1", "gripper0_right_finger_joint2")


@dataclass(frozen=True, slots=True)
class Scene:
    """The compiled model and live data of one environment, read by name without copies of the whole."""

    model: Any
    data: Any

    def body_pos(self, name: str) -> Callable[[], Float64[Array, " 3"]]:
        """A reader of a body's position in the world, metres."""
        index = self.model.body(name).id
        return lambda: np.array(self.data.xpos[index])

    def body_quat(self, name: str) -> Callable[[], Float64[Array, " 4"]]:
        """A reader of a body's orientation in the world as `x y z w`."""
        index = self.model.body(name).id
        return lambda: np.roll(self.data.xquat[index], -1)

    def body_yaw(self, name: str) -> Callable[[], float]:
        """A reader of a body's turn about the vertical, radians in [-pi, pi]."""
        index = self.model.body(name).id
        return lambda: float(np.arctan2(self.data.xmat[index][3], self.data.xmat[index][0]))

    def site_pos(self, name: str) -> Callable[[], Float64[Array, " 3"]]:
        """A reader of a site's position in the world, metres."""
        index = self.model.site(name).id
        return lambda: np.array(self.data.site_xpos[index])

    def site_mat(self, name: str) -> Callable[[], Float64[Array, "3 3"]]:
        """A reader of a site's orientation in the world as a rotation matrix."""
        index = self.model.site(name).id
        return lambda: self.data.site_xmat[index].reshape(3, 3).copy()

    def joint(self, name: str) -> Callable[[], float]:
        """A reader of a hinge or slide joint's position, radians or metres."""
        address = int(self.model.jnt_qposadr[self.model.joint(name).id])
        return lambda: float(self.data.qpos[address])


def robot_facts(scene: Scene) -> Callable[[], Facts]:
    """Proprioception as robomimic records it: hand position, hand orientation, finger joints."""
    eef_pos, eef_quat = scene.site_pos(GRIP_SITE), scene.body_quat(_HAND_BODY)
    left, right = (scene.joint(name) for name in _FINGER_JOINTS)
    return lambda: {
        "eef_pos": eef_pos(),
        "eef_quat": eef_quat(),
        "gripper_qpos": np.array([left(), right()]),
    }


def turn_of(angle_rad: float, order: int) -> Float64[Array, " 2"]:
    """An angle of an object that looks the same after 1/order of a full turn, without a jump."""
    return np.array([np.cos(order * angle_rad), np.sin(order * angle_rad)])


def _lift(scene: Scene) -> Callable[[], Facts]:
    eef, cube, yaw = scene.site_pos(GRIP_SITE), scene.body_pos("cube_main"), scene.body_yaw("cube_main")
    return lambda: {"cube_pos": cube(), "cube_turn": turn_of(yaw(), 4), "eef_to_cube": cube() - eef()}


def _door(scene: Scene) -> Callable[[], Facts]:
    eef, handle = scene.site_pos(GRIP_SITE), scene.site_pos("Door_handle")
    yaw = scene.body_yaw("Door_door")
    hinge, latch = scene.joint("Door_hinge"), scene.joint("Door_latch_joint")
    return lambda: {
        "handle_pos": handle(),
        "door_turn": turn_of(yaw(), 1),
        "door_joints": np.array([hinge(), latch()]),
        "eef_to_handle": handle() - eef(),
    }


def finger_yaw(hand_axes: Float64[Array, "3 3"]) -> float:
    """Direction in which the fingers close, about the vertical, radians."""
    return float(np.arctan2(hand_axes[1, 0], hand_axes[0, 0]))


def _stack(scene: Scene) -> Callable[[], Facts]:
    eef, hand, yaw = scene.site_pos(GRIP_SITE), scene.site_mat(GRIP_SITE), scene.body_yaw("cubeA_main")
    red, green = scene.body_pos("cubeA_main"), scene.body_pos("cubeB_main")

    def read() -> Facts:
        fingers, way = finger_yaw(hand()), green() - red()
        # Beside the other cube is where there may be no room for a finger.
        beside = float(np.arctan2(way[1], way[0])) + np.pi / 2 - fingers
        return {
            "cube_pos": red(),
            "cube_turn": turn_of(yaw() - fingers, 4),
            "base_pos": green(),
            "eef_to_cube": red() - eef(),
            "cube_to_base": way,
            "hand_turn": turn_of(beside, 2),
        }

    return read


def _can(scene: Scene) -> Callable[[], Facts]:
    eef, can, goal = scene.site_pos(GRIP_SITE), scene.body_pos("Can_main"), scene.body_pos("VisualCan_main")
    return lambda: {"can_pos": can(), "eef_to_can": can() - eef(), "can_to_goal": goal() - can()}


def _square(scene: Scene) -> Callable[[], Facts]:
    eef, hand = scene.site_pos(GRIP_SITE), scene.site_mat(GRIP_SITE)
    nut, handle = scene.body_pos("SquareNut_main"), scene.site_pos("SquareNut_handle_site")
    yaw, peg = scene.body_yaw("SquareNut_main"), scene.body_pos("peg1")

    def read() -> Facts:
        nut_yaw = yaw()
        # Across the handle is where the fingers belong; either finger may be on either side.
        across = nut_yaw + np.pi / 2 - finger_yaw(hand())
        return {
            "nut_pos": nut(),
            "nut_turn": turn_of(nut_yaw, 1),
            "nut_square_turn": turn_of(nut_yaw, 4),
            "eef_to_handle": handle() - eef(),
            "nut_to_peg": peg() - nut(),
            "hand_turn": turn_of(across, 2),
        }

    return read


SCENE_FACTS: Mapping[str, Callable[[Scene], Callable[[], Facts]]] = {
    "Lift": _lift,
    "Door": _door,
    "Stack": _stack,
    "PickPlaceCan": _can,
    "NutAssemblySquare": _square,
}
"""By robosuite's name of the environment: the privileged facts beyond proprioception."""
