"""robosuite behind the Task protocol: a Panda with the ordinary operational-space pose controller at 20 Hz."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pvrbench.envs.base import InitialStates, Observation, SimulationError, StepResult, TaskEnv
from pvrbench.envs.pictures.geometry import Geometry
from pvrbench.envs.pictures.gl import configure_gl
from pvrbench.envs.pictures.rendering import ViewRenderer
from pvrbench.envs.simulators.numba_cache import prepare_numba_cache
from pvrbench.envs.spec import Split, TaskSpec, View

configure_gl()

import mujoco as untyped_mujoco  # noqa: E402  (the GL backend is chosen before the first import)

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray


@contextmanager
def _without_robosuite_chatter() -> Generator[None]:
    """Keeps robosuite's messages about private macros and optional robots off the console meanwhile.

    The same for the warnings that Python has about its source (escape sequences in its logo).
    """
    logger = logging.getLogger("robosuite_logs")

    def is_serious(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_serious)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(is_serious)


prepare_numba_cache()

with _without_robosuite_chatter():
    import robosuite as untyped_robosuite

from pvrbench.envs.experts.robosuite import EXPERTS, draw_style  # noqa: E402
from pvrbench.envs.initial_states import make_initial_states  # noqa: E402
from pvrbench.envs.simulators.robosuite_control import ArmControl  # noqa: E402
from pvrbench.envs.simulators.robosuite_scene import SCENE_FACTS, Facts, Scene, robot_facts  # noqa: E402

mujoco: Any = untyped_mujoco
robosuite: Any = untyped_robosuite

_CONSTRUCTION_SEED = 0
"""Draws what is fixed for the life of an environment (the size of Lift's cube)."""

_COLLISION_GROUP, _UNDRAWN_GROUP = 0, 5
"""robosuite's group of collision shapes, and one that MuJoCo's default visual options leave out."""


SIMULATOR_ARGUMENTS: Mapping[str, Any] = {
    "robots": "Panda",
    "control_freq": 20,
    "hard_reset": False,
    "ignore_done": True,
}
"""What robosuite's environments are made with, besides the controller."""


def controller_config() -> dict[str, Any]:
    """Robosuite's ordinary configuration of the Panda's controllers."""
    with _without_robosuite_chatter():
        return dict(robosuite.load_composite_controller_config(robot="Panda"))


def load_task(spec: TaskSpec) -> RobosuiteTask:
    """The task that a row of the catalog describes."""
    return RobosuiteTask(spec)


def make_simulator(name: str) -> Any:
    """Robosuite's own environment, unchanged, with nothing switched on that costs time.

    Args:
        name: robosuite's name of the environment, such as `Lift`.
    """
    with _without_robosuite_chatter():
        simulator: Any = robosuite.make(
            name,
            **SIMULATOR_ARGUMENTS,
            controller_configs=controller_config(),
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            renderer="mujoco",  # the default starts an interactive viewer
            seed=_CONSTRUCTION_SEED,
        )
    return simulator


def without_collision_geoms(model: Any) -> Any:
    """A copy for pictures in which the shapes that are only collided with belong to a group that is not drawn."""
    picture = copy.copy(model)
    picture.geom_group[picture.geom_group == _COLLISION_GROUP] = _UNDRAWN_GROUP
    return picture


class RobosuiteEnv:
    """One running robosuite environment; fulfils `pvrbench.envs.base.TaskEnv`.

    The physics is robosuite's to the last bit: an episode of `reset(seed)` and some actions goes through the
    states that the untouched simulator goes through when its generator is seeded alike.
    """

    def __init__(self, spec: TaskSpec, view: View | None) -> None:
        self.spec = spec
        self._simulator = make_simulator(str(spec.options["environment"]))
        self._model: Any = self._simulator.sim.model._model
        self._data: Any = self._simulator.sim.data._data
        # Some placements are written into the model (the door's frame): every reset starts from these.
        self._body_pos = self._model.body_pos.copy()
        self._body_quat = self._model.body_quat.copy()
        scene = Scene(self._model, self._data)
        self._robot_facts = robot_facts(scene)
        self._task_facts = self.task_facts(scene)
        self._simulator.reset()  # hides the markers of robosuite's interactive viewer
        self._control = ArmControl(self._simulator)
        self._renderer = (
            None if view is None else ViewRenderer(without_collision_geoms(self._model), view, scenery=spec.scenery)
        )

    def task_facts(self, scene: Scene) -> Callable[[], Facts]:
        """A reader of the privileged facts beyond proprioception."""
        return SCENE_FACTS[str(self.spec.options["environment"])](scene)

    @property
    def scene(self) -> tuple[Any, Any]:
        """MuJoCo's model and data, to draw from with a renderer of one's own."""
        return self._model, self._data

    def reset(self, seed: int) -> Observation:
        """Puts the environment into the initial state that `seed` names, whatever happened before."""
        self._model.body_pos[:] = self._body_pos
        self._model.body_quat[:] = self._body_quat
        # The samplers share this generator, so it is re-seeded in place.
        self._simulator.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        self._simulator.reset()
        self._control = ArmControl(self._simulator)
        if self._renderer is not None:
            self._renderer.take_over(self._model)
        return self.observe()

    def step(self, action: Float32[Array, " A"]) -> StepResult:
        """Applies one action (clipped to [-1, 1]) for one control step.

        Raises:
            SimulationError: the physics became unstable or the action is not finite.
        """
        if not np.all(np.isfinite(action)):
            raise SimulationError(
                f"{self.spec.name}: the action {action.tolist()} is not finite; "
                "expected numbers in [-1, 1]. Check the policy that made it."
            )
        self._control.step(np.clip(action, -1.0, 1.0).astype(np.float64))
        if not np.all(np.isfinite(self._data.qpos)) or self._data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number:
            raise SimulationError(f"{self.spec.name}: the physics became unstable; the episode cannot go on.")
        success = self.is_solved()
        self._refresh()
        return StepResult(self.observe(), success)

    def is_solved(self) -> bool:
        """Whether the task is solved after the last physics step."""
        return bool(self._simulator._check_success())

    def _refresh(self) -> None:
        """Brings positions up to the present joint state.

        A physics step leaves them one step behind. What is derived here takes no part in the next step, so
        the states stay bit for bit the same, and a picture of a restored state equals the live one.
        """
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)

    def facts(self) -> Facts:
        """The privileged facts of the present state by name; concatenated they are `state`."""
        return {**self._robot_facts(), **self._task_facts()}

    def observe(self) -> Observation:
        """The observation of the present state."""
        robot = self._robot_facts()
        proprio = np.concatenate(list(robot.values()))
        state = np.concatenate([proprio, *self._task_facts().values()])
        image = np.zeros((0, 0, 3), np.uint8) if self._renderer is None else self._renderer.render(self._data)
        return {"image": image, "proprio": proprio.astype(np.float32), "state": state.astype(np.float32)}

    def render_marks(self) -> UInt8[Array, "H W 3"]:
        """The present picture with a red ball above a blue one before the camera."""
        return np.zeros((0, 0, 3), np.uint8) if self._renderer is None else self._renderer.render_marks(self._data)

    def geometry(self) -> Geometry:
        """What the picture of the present state shows; fulfils `pvrbench.envs.pictures.geometry.GeometryEnv`.

        Raises:
            ValueError: the environment was made without a view.
        """
        if self._renderer is None:
            raise ValueError(f"{self.spec.name}: an environment without a view has no picture. Make it with a view.")
        return self._renderer.geometry(self._data)

    def get_state(self) -> Float64[Array, " Q"]:
        """Time, joint positions and joint velocities, as robomimic files hold them."""
        return np.concatenate([[self._data.time], self._data.qpos, self._data.qvel])

    def set_state(self, state: Float64[Array, " Q"]) -> None:
        """Restores a state taken by `get_state` in an episode of the same reset seed.

        Raises:
            ValueError: the state has another width than this simulator's.
        """
        num_qpos, num_qvel = self._model.nq, self._model.nv
        if state.shape != (1 + num_qpos + num_qvel,):
            raise ValueError(
                f"{self.spec.name}: got a state of shape {state.shape}, expected ({1 + num_qpos + num_qvel},): "
                "time, joint positions, joint velocities. It belongs to another task or simulator version."
            )
        self._data.time = state[0]
        self._data.qpos[:] = state[1 : 1 + num_qpos]
        self._data.qvel[:] = state[1 + num_qpos :]
        self._refresh()

    def close(self) -> None:
        """Frees the renderer and the simulator."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None
        self._simulator.close()


class RobosuiteTask:
    """One task of the suite; fulfils `pvrbench.envs.base.Task`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def make_env(self, view: View | None) -> RobosuiteEnv:
        """Makes an environment that renders `view`, or one that renders nothing (`None`)."""
        return RobosuiteEnv(self.spec, view)

    def make_expert(self, env: TaskEnv, seed: int) -> Callable[[], Float32[Array, " A"]]:
        """A scripted expert for the episode that `env` has just been reset to.

        It has no memory: an action depends on the present facts and on the style that `seed` draws.
        """
        if not isinstance(env, RobosuiteEnv):
            raise TypeError(f"{self.spec.name}: the expert needs an environment of this task, got {type(env)}.")
        expert, style = EXPERTS[str(self.spec.options["environment"])], draw_style(seed)
        return lambda: np.clip(expert(env.facts(), style), -1.0, 1.0).astype(np.float32)

    def initial_states(self, split: Split, num_states: int) -> InitialStates:
        """The first `num_states` initial states of a split; those of a smaller number are its prefix."""
        return make_initial_states(self, split, num_states)
