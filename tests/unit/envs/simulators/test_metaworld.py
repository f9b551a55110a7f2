"""Meta-World through the Task protocol: bad actions, foreign states, rendering apart from physics, splits."""

from __future__ import annotations

import numpy as np
import pytest

from pvrbench.envs.base import SimulationError
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.initial_states import seeds_of
from pvrbench.envs.simulators.metaworld import load_task
from pvrbench.envs.spec import View

TASK = load_task(TASKS["metaworld/drawer-open-v3"])


def test_bad_actions_and_states_are_refused_by_name() -> None:
    env = TASK.make_env(None)
    env.reset(0)
    with pytest.raises(SimulationError, match="is not finite; expected numbers in"):
        env.step(np.full(4, np.nan, np.float32))
    with pytest.raises(ValueError, match=r"got a state of shape \(3,\), expected"):
        env.set_state(np.zeros(3))
    env.close()


def test_rendering_leaves_physics_alone() -> None:
    states: list[bytes] = []
    for view in (None, View(camera="corner2", image_px=32, render="lean")):
        env = TASK.make_env(view)
        env.reset(1)
        for _ in range(20):
            env.step(np.array([0.4, 0.2, -0.3, 1.0], np.float32))
        states.append(env.get_state().tobytes())
        env.close()
    assert states[0] == states[1]


def test_splits_are_bounded() -> None:
    assert seeds_of("selection", 2) == (1_000_000, 1_000_001)
    with pytest.raises(ValueError, match="a split holds 1 to 1000000"):
        seeds_of("test", 0)
