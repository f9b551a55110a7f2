"""Meta-World behind the Task protocol: the Sawyer arm, positions and gripper, scripted experts of the package."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pvrbench.common.reference import resolve
from pvrbench.envs.base import InitialStates, Observation, SimulationError, StepResult, TaskEnv
from pvrbench.envs.initial_states import make_initial_states
from pvrbench.envs.pictures.geometry import Geometry
from pvrbench.envs.pictures.gl import configure_gl
from pvrbench.envs.pictures.rendering import Camera, ModelCamera, TargetCamera, ViewRenderer
from pvrbench.envs.privileged import enlarge_near
from pvrbench.envs.spec import Split, TaskSpec, View

configure_gl()

import metaworld  # noqa: E402  (the GL backend is chosen before mujoco is imported)
import mujoco as untyped_mujoco  # noqa: E402
from metaworld.policies import ENV_POLICY_MAP  # noqa: E402

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

mujoco: Any = untyped_mujoco

_TABLE = (0.0, 0.6, 0.0)

# The simulator's own cameras, and the three of R3M's evaluation (Nair et al. 2022: poses in the `xyz_base.xml` of its
# Meta-World fork), which look at the table.
CAMERAS: Mapping[str, Camera] = {
    "topview": ModelCamera("topview"),
    "corner": ModelCamera("corner", upside_down=True),
    "corner2": ModelCamera("corner2", upside_down=True),
    "corner3": ModelCamera("corner3", upside_down=True),
    "corner4": ModelCamera("corner4", upside_down=True),
    "behindGripper": ModelCamera("behindGripper"),
    "gripperPOV": ModelCamera("gripperPOV"),
    "top_cap2": TargetCamera((0.0, 0.9, 0.6), _TABLE),
    "left_cap2": TargetCamera((-0.5, 0.0, 0.4), _TABLE),
    "right_cap2": TargetCamera((0.3, 0.0, 0.5), _TABLE),
}

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_NUM_PROPRIO = 4

# Slowest share of its own speed at which an expert acts, and how it lets go before it tries again.
MIN_SPEED = 0.85
RETREAT = np.tile(np.array([0.0, 0.0, 1.0, -1.0], np.float32), (15, 1))


def load_task(spec: TaskSpec) -> MetaworldTask:
    """The task that a row of the catalog describes."""
    return MetaworldTask(spec)


@cache
def _benchmark(name: str) -> Any:
    return metaworld.MT1(name, seed=0)


def make_simulator(name: str) -> Any:
    """Meta-World's own environment with its goal visible in the state and its randomness seeded by `seed()`."""
    benchmark = _benchmark(name)
    simulator = benchmark.train_classes[name]()
    # Without a task the goal is zeroed in the observation and the scripted experts fail.
    simulator.set_task(benchmark.train_tasks[0])
    simulator._partially_observable = False
    simulator.__dict__.pop("sawyer_observation_space", None)
    simulator._freeze_rand_vec = False
    simulator.seeded_rand_vec = True
    simulator.max_path_length = np.inf
    return simulator


class MetaworldEnv:
    """One running Meta-World environment; fulfils `pvrbench.envs.base.TaskEnv`."""

    def __init__(self, spec: TaskSpec, view: View | None) -> None:
        self.spec = spec
        self._simulator = make_simulator(str(spec.options["environment"]))
        self._model: Any = self._simulator.model
        self._data: Any = self._simulator.data
        # Some resets write into the model (where a door or a peg box stands): each starts from these.
        self._body_pos = self._model.body_pos.copy()
        self._body_quat = self._model.body_quat.copy()
        self._site_pos = self._model.site_pos.copy()
        self._renderer = None if view is None else ViewRenderer(self._model, view, CAMERAS[view.camera], spec.scenery)
        self._full: Float64[Array, " F"] = np.zeros(39)
        self.was_solved = False
        """Whether the task has been solved since the last reset."""

    @property
    def scene(self) -> tuple[Any, Any]:
        """MuJoCo's model and data, to draw from with a renderer of one's own."""
        return self._model, self._data

    def reset(self, seed: int) -> Observation:
        """Puts the environment into the initial state that `seed` names, whatever happened before."""
        mujoco.mj_resetData(self._model, self._data)
        self._model.body_pos[:] = self._body_pos
        self._model.body_quat[:] = self._body_quat
        self._model.site_pos[:] = self._site_pos
        self._simulator._did_see_sim_exception = False
        self._simulator.seed(seed)
        self._simulator.reset()
        mujoco.mj_forward(self._model, self._data)
        self.was_solved = False
        # Some resets return what was seen before the objects were put in place.
        self._full = self._simulator._get_obs()
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
        self._full, _, _, _, info = self._simulator.step(np.clip(action, -1.0, 1.0))
        if self._simulator._did_see_sim_exception or not np.all(np.isfinite(self._data.qpos)):
            raise SimulationError(f"{self.spec.name}: the physics became unstable; the episode cannot go on.")
        success = bool(info["success"])
        self.was_solved = self.was_solved or success
        return StepResult(self.observe(), success)

    def expert_observation(self) -> Float64[Array, " 39"]:
        """What Meta-World's scripted policies read."""
        return self._full

    def observe(self) -> Observation:
        """The observation of the present state."""
        now, goal = self._full[:18], self._full[36:]
        hand, objects = now[:3], now[4:]
        # Meta-World stacks the previous observation, which is no state; relations are what an expert reads.
        relations = np.concatenate([objects[:3] - hand, goal - hand, goal - objects[:3]])
        state = np.concatenate([now, goal, relations, enlarge_near(relations)])
        image = np.zeros((0, 0, 3), np.uint8) if self._renderer is None else self._renderer.render(self._data)
        return {
            "image": image,
            "proprio": now[:_NUM_PROPRIO].astype(np.float32),
            "state": state.astype(np.float32),
        }

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
        """MuJoCo's integration state: positions, velocities, mocap pose, warm start."""
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, state, _STATE)
        return state

    def set_state(self, state: Float64[Array, " Q"]) -> None:
        """Restores a state taken by `get_state` in an episode of the same reset seed.

        Raises:
            ValueError: the state has another width than this simulator's.
        """
        size = mujoco.mj_stateSize(self._model, _STATE)
        if state.shape != (size,):
            raise ValueError(
                f"{self.spec.name}: got a state of shape {state.shape}, expected ({size},). "
                "It belongs to another task or simulator version."
            )
        mujoco.mj_setState(self._model, self._data, state, _STATE)
        mujoco.mj_forward(self._model, self._data)
        # The forward pass overwrites the solver's warm start, which is part of the state.
        mujoco.mj_setState(self._model, self._data, state, _STATE)
        self._full = self._simulator._get_obs()

    def close(self) -> None:
        """Frees the renderer and the simulator."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None
        self._simulator.close()


class MetaworldTask:
    """One task of the suite; fulfils `pvrbench.envs.base.Task`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def make_env(self, view: View | None) -> MetaworldEnv:
        """Makes an environment that renders `view`, or one that renders nothing (`None`)."""
        return MetaworldEnv(self.spec, view)

    def make_expert(self, env: TaskEnv, seed: int) -> Callable[[], Float32[Array, " A"]]:
        """Meta-World's scripted policy for the episode that `env` has just been reset to.

        `options["expert"]` names another one as `module:Class`: a class without arguments whose
        `get_action(observation)` takes Meta-World's 39 numbers and returns an action.

        The package's policies have no free parameter; `seed` scales their speed by 0.85 to 1 (or from
        `options["expert_min_speed"]`), so that demonstrations differ in more than their initial state. Where
        `options["expert_attempt_steps"]` is given, a policy that has not succeeded by then opens the gripper, goes up
        and begins again: on its own it stays stuck for ever.
        """
        simulator = cast("MetaworldEnv", env)
        named = self.spec.options.get("expert")
        policy = resolve(str(named))() if named else ENV_POLICY_MAP[str(self.spec.options["environment"])]()
        speed = np.random.default_rng(seed).uniform(float(self.spec.options.get("expert_min_speed", MIN_SPEED)), 1.0)
        attempt_steps = int(self.spec.options.get("expert_attempt_steps", self.spec.horizon))
        clock = count()

        def act() -> Float32[Array, " A"]:
            is_stuck = next(clock) % (attempt_steps + len(RETREAT)) >= attempt_steps
            if is_stuck and not simulator.was_solved:
                return RETREAT[0].copy()
            with warnings.catch_warnings():
                # The policies ask for more than full speed, knowing that the environment clips.
                warnings.simplefilter("ignore", UserWarning)
                action = np.clip(policy.get_action(simulator.expert_observation()), -1.0, 1.0)
            action[:3] *= speed
            return action.astype(np.float32)

        return act

    def initial_states(self, split: Split, num_states: int) -> InitialStates:
        """The first `num_states` initial states of a split; those of a smaller number are its prefix."""
        return make_initial_states(self, split, num_states)
