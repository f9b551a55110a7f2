"""A row may name its own expert, for any simulator whose rows can be written without code."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pvrbench.envs.catalog import TASKS
from pvrbench.envs.simulators import gymnasium, metaworld
from pvrbench.envs.spec import TaskSpec

EXPERT = """
import numpy as np
class Expert:
    def __init__(self):
        self.steps = 0
    def get_action(self, observation):
        self.steps += 1
        return np.full({action_dim}, self.steps * {step} + 0 * observation[0])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_expert", None)
    return tmp_path / "own_expert.py"


def test_a_metaworld_row_names_an_expert_of_its_own(own: Path) -> None:
    own.write_text(EXPERT.format(action_dim=4, step=0.25))
    spec = TASKS["metaworld/reach-v3"]
    spec = replace(spec, options={**spec.options, "expert": "own_expert:Expert", "expert_min_speed": 1.0})
    task = metaworld.load_task(spec)
    env = task.make_env(None)
    env.reset(0)
    act = task.make_expert(env, 0)
    assert np.allclose([act(), act()], [[0.25] * 4, [0.5] * 4])
    env.close()


def test_a_gymnasium_row_names_an_expert_of_its_own_in_the_bounds_of_the_environment(own: Path) -> None:
    own.write_text(EXPERT.format(action_dim=1, step=1.5))
    spec = TaskSpec(
        name="own/pendulum",
        entry_point="pvrbench.envs.simulators.gymnasium:load_task",
        description="hold the pole up",
        horizon=10,
        control_hz=25,
        cameras=("track",),
        proprio_dim=4,
        state_dim=4,
        action_dim=1,
        success_rule="none",
        packages=("gymnasium", "mujoco", "numpy"),
        options={
            "environment": "InvertedPendulum-v5",
            "proprio_start": 0,
            "proprio_stop": 4,
            "expert": "own_expert:Expert",
        },
    )
    task = gymnasium.load_task(spec)
    env = task.make_env(None)
    env.reset(0)
    act = task.make_expert(env, 0)
    assert np.allclose([act(), act()], [[0.5], [1.0]]), "the environment's bounds are -3 and 3"
    env.close()
