"""robosuite scenes in which an instruction names the object: one scene, as many tasks as objects.

Tasks of one scene have the same physics, initial states, pictures and privileged states. They differ in what counts
as a success and in what the expert does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64

from pvrbench.envs.base import Observation, TaskEnv
from pvrbench.envs.experts.robosuite import EXPERTS, Expert, draw_style
from pvrbench.envs.simulators.robosuite import RobosuiteEnv, RobosuiteTask
from pvrbench.envs.simulators.robosuite_scene import GRIP_SITE, Facts, Scene, finger_yaw, turn_of
from pvrbench.envs.simulators.robosuite_scenes import COLOURS
from pvrbench.envs.spec import TaskSpec, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# An object that was displaced by so much was moved, by the robot or by what the robot moved.
MOVED_M = 0.03
# The hand touches a cube that lies between its open fingers.
TOUCH_AWAY_M, TOUCH_HEIGHT_M = 0.02, 0.02


def load_task(spec: TaskSpec) -> InstructedTask:
    """The task that a row of the catalog describes."""
    return InstructedTask(spec)


class InstructedEnv(RobosuiteEnv):
    """One running environment of an instructed task; fulfils `pvrbench.envs.base.HandlingEnv`."""

    def __init__(self, spec: TaskSpec, view: View | None) -> None:
        if spec.instruction is None:
            raise ValueError(f"{spec.name} has no instruction. Give its specification one that names an object.")
        self.object = spec.instruction.object
        self.instructed = SCENES[str(spec.options["environment"])]
        if self.object not in self.instructed.bodies:
            raise ValueError(
                f"{spec.name}: its instruction is about {self.object!r}, and the scene {spec.instruction.scene!r} has "
                f"{', '.join(self.instructed.bodies)}. Name one of these."
            )
        self._handled: list[str] = []
        self._starts: dict[str, Float64[Array, " 3"]] = {}
        super().__init__(spec, view)
        scene = Scene(*self.scene)
        self._positions = {name: scene.body_pos(body) for name, body in self.instructed.bodies.items()}
        self._hand = scene.site_pos(GRIP_SITE)

    def task_facts(self, scene: Scene) -> Callable[[], Facts]:
        """A reader of the privileged facts beyond proprioception, the same for all tasks of the scene."""
        return self.instructed.facts(scene)

    def reset(self, seed: int) -> Observation:
        """Puts the environment into the initial state that `seed` names, whatever happened before."""
        observation = super().reset(seed)
        self._handled = []
        self._starts = {name: read() for name, read in self._positions.items()}
        return observation

    def is_solved(self) -> bool:
        """Whether the named object is where the instruction wants it."""
        for name, read in self._positions.items():
            if name not in self._handled and (self._was_moved(name, read()) or self._is_touched(name)):
                self._handled.append(name)
        return self.instructed.is_solved(self)

    def handled(self) -> tuple[str, ...]:
        """The objects that were moved or touched in this episode, in order."""
        return tuple(self._handled)

    @property
    def simulator(self) -> Any:
        """Robosuite's environment."""
        return self._simulator

    def _was_moved(self, name: str, now: Float64[Array, " 3"]) -> bool:
        # Objects may settle a little after a reset, which is no movement.
        away = now - self._starts[name]
        return bool(np.linalg.norm(away[:2]) > MOVED_M or away[2] > MOVED_M)

    def _is_touched(self, name: str) -> bool:
        return self.instructed.by_touch and self.lies_in_hand(name)

    def lies_in_hand(self, name: str) -> bool:
        """Whether an object is between the fingers."""
        away = self._positions[name]() - self._hand()
        return bool(np.linalg.norm(away[:2]) < TOUCH_AWAY_M and abs(away[2]) < TOUCH_HEIGHT_M)


class InstructedTask(RobosuiteTask):
    """One instruction in a scene; fulfils `pvrbench.envs.base.Task`."""

    def make_env(self, view: View | None) -> InstructedEnv:
        """Makes an environment that renders `view`, or one that renders nothing (`None`)."""
        return InstructedEnv(self.spec, view)

    def make_expert(self, env: TaskEnv, seed: int) -> Callable[[], Float32[Array, " A"]]:
        """A scripted expert for the named object; it has no memory, as those of `RobosuiteTask`."""
        if not isinstance(env, InstructedEnv):
            raise TypeError(f"{self.spec.name}: the expert needs an environment of this task, got {type(env)}.")
        scene, style = env.instructed, draw_style(seed)
        return lambda: np.clip(scene.expert(scene.named(env.facts(), env.object), style), -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructedScene:
    """What the tasks of one scene share.

    Attributes:
        bodies: the body of each object, by its name in instructions.
        facts: makes a reader of the privileged facts; they tell nothing of the instruction.
        named: those facts as the expert takes them, for the named object.
        expert: the expert.
        is_solved: whether the named object of an environment is where the instruction wants it.
        by_touch: whether an object counts as handled that was touched and not moved.
    """

    bodies: Mapping[str, str]
    facts: Callable[[Scene], Callable[[], Facts]]
    named: Callable[[Facts, str], Facts]
    expert: Expert
    is_solved: Callable[[InstructedEnv], bool]
    by_touch: bool = False


def _row_facts(scene: Scene) -> Callable[[], Facts]:
    eef, cubes = scene.site_pos(GRIP_SITE), {name: scene.body_pos(f"{name}_main") for name in COLOURS}

    def read() -> Facts:
        return {
            name: part
            for colour, cube in cubes.items()
            for name, part in ((f"{colour}_pos", cube()), (f"eef_to_{colour}", cube() - eef()))
        }

    return read


def _is_first_touched(env: InstructedEnv) -> bool:
    return env.lies_in_hand(env.object) and env.handled()[:1] == (env.object,)


@dataclass(frozen=True, slots=True)
class Grasp:
    """How the hand takes an object of `FourObjects`.

    Attributes:
        height_m: of the fingers above the middle of the object's body.
        width_m: of the closed fingers that hold it; they are open wider where they hold nothing yet.
        goal_m: where it is let go, from the middle of its compartment, which the arm cannot always reach.
    """

    height_m: float
    width_m: float
    goal_m: tuple[float, float, float]


GRASPS: Mapping[str, Grasp] = {
    "milk": Grasp(0.05, 0.046, (0.0, 0.0, 0.03)),
    "bread": Grasp(0.0, 0.052, (0.0, 0.0, 0.03)),
    "cereal": Grasp(0.035, 0.036, (0.0, 0.0, 0.03)),
    "can": Grasp(0.0, 0.054, (-0.04, -0.03, 0.02)),
}


def _bin_facts(scene: Scene) -> Callable[[], Facts]:
    eef = scene.site_pos(GRIP_SITE)
    things = {name: scene.body_pos(f"{name.capitalize()}_main") for name in GRASPS}
    goals = {name: scene.body_pos(f"Visual{name.capitalize()}_main") for name in GRASPS}

    def read() -> Facts:
        facts: dict[str, Array] = {}
        for name, thing in things.items():
            facts |= {
                f"{name}_pos": thing(),
                f"eef_to_{name}": thing() - eef(),
                f"{name}_to_goal": goals[name]() - thing(),
            }
        return facts

    return read


def _named_in_bin(facts: Facts, name: str) -> Facts:
    grasp = GRASPS[name]
    return {
        **facts,
        "eef_to_object": facts[f"eef_to_{name}"] + np.array([0.0, 0.0, grasp.height_m]),
        "object_to_goal": facts[f"{name}_to_goal"] + np.array(grasp.goal_m),
        "grasp_width": np.array([grasp.width_m]),
    }


def _is_in_its_bin(env: InstructedEnv) -> bool:
    simulator = env.simulator
    simulator._check_success()  # it takes note of what lies in its compartment with the hand away
    return bool(simulator.objects_in_bins[simulator.object_to_id[env.object]])


CUBES: Mapping[str, tuple[str, float]] = {"red": ("cubeA", 0.04), "green": ("cubeB", 0.05)}
"""The cubes of robosuite's Stack: their names there and their sides in metres."""


def _stack_facts(scene: Scene) -> Callable[[], Facts]:
    eef, hand = scene.site_pos(GRIP_SITE), scene.site_mat(GRIP_SITE)
    cubes = {name: scene.body_pos(f"{body}_main") for name, (body, _) in CUBES.items()}
    yaws = {name: scene.body_yaw(f"{body}_main") for name, (body, _) in CUBES.items()}

    def read() -> Facts:
        fingers, way = finger_yaw(hand()), cubes["green"]() - cubes["red"]()
        facts: dict[str, Array] = {}
        for name, cube in cubes.items():
            facts |= {
                f"{name}_pos": cube(),
                f"eef_to_{name}": cube() - eef(),
                f"{name}_turn": turn_of(yaws[name]() - fingers, 4),
            }
        # Beside the other cube is where there may be no room for a finger.
        beside = float(np.arctan2(way[1], way[0])) + np.pi / 2 - fingers
        return {**facts, "red_to_green": way, "hand_turn": turn_of(beside, 2)}

    return read


def _named_in_stack(facts: Facts, name: str) -> Facts:
    way = facts["red_to_green"]
    return {
        **facts,
        "cube_turn": facts[f"{name}_turn"],
        "eef_to_cube": facts[f"eef_to_{name}"],
        "cube_to_base": way if name == "red" else -way,
        "cube_side": np.array([CUBES[name][1]]),
    }


def _is_on_the_other(env: InstructedEnv) -> bool:
    """Robosuite's own rule of Stack, for either cube: lifted, on the other one, and let go."""
    simulator = env.simulator
    red, green = simulator.cubeA, simulator.cubeB
    cube = red if env.object == "red" else green
    height_m = float(simulator.sim.data.body_xpos[simulator.sim.model.body_name2id(cube.root_body)][2])
    is_held = simulator._check_grasp(gripper=simulator.robots[0].gripper, object_geoms=cube)
    is_lifted = height_m > simulator.table_offset[2] + 0.04
    return bool(is_lifted and not is_held and simulator.check_contact(red, green))


SCENES: Mapping[str, InstructedScene] = {
    "ColouredRow": InstructedScene(
        bodies={name: f"{name}_main" for name in COLOURS},
        facts=_row_facts,
        named=lambda facts, name: {**facts, "eef_to_object": facts[f"eef_to_{name}"]},
        expert=EXPERTS["ColouredRow"],
        is_solved=_is_first_touched,
        by_touch=True,
    ),
    "FourObjects": InstructedScene(
        bodies={name: f"{name.capitalize()}_main" for name in GRASPS},
        facts=_bin_facts,
        named=_named_in_bin,
        expert=EXPERTS["FourObjects"],
        is_solved=_is_in_its_bin,
    ),
    "Stack": InstructedScene(
        bodies={name: f"{body}_main" for name, (body, _) in CUBES.items()},
        facts=_stack_facts,
        named=_named_in_stack,
        expert=EXPERTS["StackEither"],
        is_solved=_is_on_the_other,
    ),
}
"""By the name of the simulator's environment."""
