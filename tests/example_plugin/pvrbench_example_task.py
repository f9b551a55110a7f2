"""A task with code of its own: a ball on a table is pushed to a goal. Imported when the task is loaded, not before."""

from typing import Any

import numpy as np

from pvrbench.envs.base import InitialStates, SimulationError, StepResult
from pvrbench.envs.initial_states import make_initial_states
from pvrbench.envs.pictures.gl import configure_gl
from pvrbench.envs.pictures.rendering import ViewRenderer

configure_gl()

import mujoco as untyped_mujoco  # noqa: E402

mujoco: Any = untyped_mujoco

SCENE = """<mujoco><option timestep="0.05"/><worldbody><light pos="0 0 3"/>
<camera name="top" pos="0 0 2"/><geom type="plane" size="1 1 .1" rgba=".8 .8 .8 1"/>
<body name="ball"><joint type="slide" axis="1 0 0" damping="1"/><joint type="slide" axis="0 1 0" damping="1"/>
<geom type="sphere" size=".1" pos="0 0 .1" rgba="1 0 0 1" mass="1"/></body>
<site name="goal" size=".1" rgba="0 .6 0 1"/></worldbody></mujoco>"""


class PushEnv:
    """The ball is moved by a velocity in x and y."""

    def __init__(self, view: Any) -> None:
        self._model: Any = mujoco.MjModel.from_xml_string(SCENE)
        self._data: Any = mujoco.MjData(self._model)
        self._renderer = None if view is None else ViewRenderer(self._model, view)

    def reset(self, seed: int) -> Any:
        mujoco.mj_resetData(self._model, self._data)
        places = np.random.default_rng(seed).uniform(-0.6, 0.6, 4)
        self._data.qpos[:], self._model.site_pos[0, :2] = places[:2], places[2:]
        mujoco.mj_forward(self._model, self._data)
        return self.observe()

    def step(self, action: Any) -> StepResult:
        if not np.isfinite(action).all():
            raise SimulationError(f"The action {action.tolist()} is not finite; expected numbers in [-1, 1].")
        self._data.qvel[:] = np.clip(action, -1, 1)
        mujoco.mj_step(self._model, self._data)
        mujoco.mj_forward(self._model, self._data)
        return StepResult(self.observe(), bool(np.linalg.norm(self.way()) < 0.1))

    def way(self) -> Any:
        return self._model.site_pos[0, :2] - self._data.qpos

    def observe(self) -> Any:
        proprio = np.array(self._data.qpos, np.float32)
        image = np.zeros((0, 0, 3), np.uint8) if self._renderer is None else self._renderer.render(self._data)
        return {"image": image, "proprio": proprio, "state": np.concatenate([proprio, self.way()]).astype(np.float32)}

    def render_marks(self) -> Any:
        assert self._renderer is not None
        return self._renderer.render_marks(self._data)

    def get_state(self) -> Any:
        return np.concatenate([self._data.qpos, self._data.qvel])

    def set_state(self, state: Any) -> None:
        self._data.qpos[:], self._data.qvel[:] = state[:2], state[2:]
        mujoco.mj_forward(self._model, self._data)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()


class PushTask:
    """The task of a row."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def make_env(self, view: Any) -> PushEnv:
        return PushEnv(view)

    def make_expert(self, env: Any, seed: int) -> Any:
        speed = np.random.default_rng(seed).uniform(2.0, 4.0)
        return lambda: np.clip(speed * env.way(), -1, 1).astype(np.float32)

    def initial_states(self, split: Any, num_states: int) -> InitialStates:
        return make_initial_states(self, split, num_states)
