"""Any Gymnasium MuJoCo environment as a task, with demonstrations from a Minari dataset or an expert of one's own.

A row of `TaskSpec` says all: `entry_point="pvrbench.envs.simulators.gymnasium:load_task"` and in `options` the
`environment` id, `module` to import for its registration, `proprio_start` and `proprio_stop` (a slice of the
observation), optionally `success_key` of `info` (default `success`), and where demonstrations come from: `minari` (a
dataset name, whose actions are replayed by seed) or `expert` (`module:Class`, a class without arguments whose
`get_action(observation)` takes the environment's whole observation and returns an action in its own bounds).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pvrbench.common.reference import resolve
from pvrbench.envs.base import Array, InitialStates, Observation, SimulationError, StepResult, TaskEnv
from pvrbench.envs.demos.demo_file import DemoError
from pvrbench.envs.initial_states import make_initial_states
from pvrbench.envs.pictures.gl import configure_gl
from pvrbench.envs.pictures.rendering import ViewRenderer
from pvrbench.envs.spec import Split, TaskSpec, View

configure_gl()

import gymnasium  # noqa: E402  (the GL backend is chosen before mujoco is imported)
import mujoco as untyped_mujoco  # noqa: E402

mujoco: Any = untyped_mujoco

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def load_task(spec: TaskSpec) -> GymnasiumTask:
    """The task that a specification describes."""
    return GymnasiumTask(spec)


class GymnasiumEnv:
    """One running environment; fulfils `pvrbench.envs.base.TaskEnv`.

    Args:
        spec: the task.
        view: what to render; None renders nothing.

    Raises:
        ValueError: the environment is none of MuJoCo, or its observation is no vector.
    """

    def __init__(self, spec: TaskSpec, view: View | None) -> None:
        self.spec = spec
        if "module" in spec.options:
            module = importlib.import_module(str(spec.options["module"]))
            gymnasium.register_envs(module)
        name = str(spec.options["environment"])
        self._simulator: Any = gymnasium.make(name, disable_env_checker=True).unwrapped
        if not hasattr(self._simulator, "model") or not isinstance(
            self._simulator.observation_space, gymnasium.spaces.Box
        ):
            raise ValueError(f"{name} is no MuJoCo environment with a vector observation; it cannot be a task.")
        space = self._simulator.action_space
        self._action_low, self._action_high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._model: Any = self._simulator.model
        self._data: Any = self._simulator.data
        self._body_pos, self._body_quat = self._model.body_pos.copy(), self._model.body_quat.copy()
        self._site_pos = self._model.site_pos.copy()
        self._renderer = None if view is None else ViewRenderer(self._model, view, scenery=spec.scenery)
        self._full: Float64[Array, " F"] = np.zeros(0)

    def reset(self, seed: int) -> Observation:
        """Puts the environment into the initial state that `seed` names, whatever happened before."""
        mujoco.mj_resetData(self._model, self._data)
        self._model.body_pos[:], self._model.body_quat[:] = self._body_pos, self._body_quat
        self._model.site_pos[:] = self._site_pos
        full, _ = self._simulator.reset(seed=seed)
        self._full = np.asarray(full, np.float64)
        mujoco.mj_forward(self._model, self._data)
        if self._renderer is not None:
            self._renderer.take_over(self._model)
        return self.observe()

    def step(self, action: Float32[Array, " A"]) -> StepResult:
        """Applies one action (clipped to [-1, 1], then scaled to the environment's bounds) for one control step.

        Raises:
            SimulationError: the physics became unstable or the action is not finite.
        """
        if not np.all(np.isfinite(action)):
            raise SimulationError(f"{self.spec.name}: the action is not finite; expected numbers in [-1, 1].")
        share = (np.clip(action, -1.0, 1.0) + 1.0) / 2.0
        scaled = self._action_low + share * (self._action_high - self._action_low)
        full, _, _, _, info = self._simulator.step(scaled)
        self._full = np.asarray(full, np.float64)
        if not np.all(np.isfinite(self._data.qpos)):
            raise SimulationError(f"{self.spec.name}: the physics became unstable; the episode cannot go on.")
        key = str(self.spec.options.get("success_key", "success"))
        if key not in info:
            raise SimulationError(f"{self.spec.name}: `info` has no {key!r}; it has {', '.join(sorted(info))}.")
        # A physics step leaves positions one step behind; a picture of a restored state has to equal this one.
        mujoco.mj_forward(self._model, self._data)
        return StepResult(self.observe(), bool(info[key]))

    def observe(self) -> Observation:
        """The observation of the present state."""
        start, stop = int(self.spec.options["proprio_start"]), int(self.spec.options["proprio_stop"])
        image = np.zeros((0, 0, 3), np.uint8) if self._renderer is None else self._renderer.render(self._data)
        return {
            "image": image,
            "proprio": self._full[start:stop].astype(np.float32),
            "state": self._full.astype(np.float32),
        }

    def render_marks(self) -> UInt8[Array, "H W 3"]:
        """The present picture with a red ball above a blue one before the camera."""
        return np.zeros((0, 0, 3), np.uint8) if self._renderer is None else self._renderer.render_marks(self._data)

    def get_state(self) -> Float64[Array, " Q"]:
        """MuJoCo's integration state."""
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, state, _STATE)
        return state

    def set_state(self, state: Float64[Array, " Q"]) -> None:
        """Restores a state for pictures and physics.

        The observation vector follows where the environment has Gymnasium's customary `_get_obs`; elsewhere it stays
        until the next step.

        Raises:
            ValueError: the state has another width than this simulator's.
        """
        size = mujoco.mj_stateSize(self._model, _STATE)
        if state.shape != (size,):
            raise ValueError(f"{self.spec.name}: got a state of shape {state.shape}, expected ({size},).")
        mujoco.mj_setState(self._model, self._data, state, _STATE)
        mujoco.mj_forward(self._model, self._data)
        if hasattr(self._simulator, "_get_obs"):
            self._full = np.asarray(self._simulator._get_obs(), np.float64)

    def full_observation(self) -> Float64[Array, " F"]:
        """The environment's own observation of the present state."""
        return self._full.copy()

    def model_digest(self) -> str:
        """SHA-256 of the model as it was loaded."""
        content = np.empty(mujoco.mj_sizeModel(self._model), np.uint8)
        mujoco.mj_saveModel(self._model, None, content)
        return hashlib.sha256(content.data).hexdigest()

    def scale_back(self, action: Array) -> Float32[Array, " A"]:
        """An action in the environment's own bounds, in [-1, 1]."""
        share = (action - self._action_low) / (self._action_high - self._action_low)
        return np.clip(2.0 * share - 1.0, -1.0, 1.0).astype(np.float32)

    def close(self) -> None:
        """Frees the renderer and the simulator."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None
        self._simulator.close()


class GymnasiumTask:
    """A Gymnasium environment as a task; fulfils `pvrbench.envs.base.Task`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def make_env(self, view: View | None) -> GymnasiumEnv:
        """Makes an environment that renders `view`, or one that renders nothing (`None`)."""
        return GymnasiumEnv(self.spec, view)

    def model_digest(self) -> str:
        """SHA-256 of the model that the environment loads, whatever files it comes from."""
        env = self.make_env(None)
        try:
            return env.model_digest()
        finally:
            env.close()

    def make_expert(self, env: TaskEnv, seed: int) -> Callable[[], Float32[Array, " A"]]:
        """The row's own expert, or the actions of the Minari episode that was recorded from the reset seed `seed`.

        Raises:
            DemoError: neither is named, or no episode of the dataset began from that seed.
        """
        simulator = cast("GymnasiumEnv", env)
        if "expert" in self.spec.options:
            policy: Any = resolve(str(self.spec.options["expert"]))()
            return lambda: simulator.scale_back(np.asarray(policy.get_action(simulator.full_observation()), np.float64))
        actions = iter(self._episode(seed))

        def act() -> Float32[Array, " A"]:
            action = next(actions, None)
            return np.zeros(self.spec.action_dim, np.float32) if action is None else simulator.scale_back(action)

        return act

    def _episode(self, seed: int) -> Array:
        import minari

        name = self.spec.options.get("minari")
        if name is None:
            raise DemoError(f"{self.spec.name} has no expert: options['expert'] or options['minari'] names one.")
        dataset: Any = minari.load_dataset(str(name))
        seeds = [metadata.get("seed") for metadata in dataset.storage.get_episode_metadata(dataset.episode_indices)]
        if seed not in seeds:
            raise DemoError(f"{name} has no episode from seed {seed}; record it with `env.reset(seed={seed})`.")
        return np.asarray(dataset[seeds.index(seed)].actions, np.float64)

    def initial_states(self, split: Split, num_states: int) -> InitialStates:
        """The first `num_states` initial states of a split; those of a smaller number are its prefix."""
        return make_initial_states(self, split, num_states)
