"""A Gymnasium environment as a task, with demonstrations from a Minari dataset made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pvrbench.envs.demos.demo_file import DemoError
from pvrbench.envs.simulators.gymnasium import load_task
from pvrbench.envs.spec import TaskSpec, View

pytest.importorskip("gymnasium_robotics", reason="install pvrbench[gymnasium]")
minari: Any = pytest.importorskip("minari", reason="install pvrbench[gymnasium]")
pytestmark = pytest.mark.filterwarnings("ignore")

SPEC = TaskSpec(
    name="adroit/door",
    entry_point="pvrbench.envs.simulators.gymnasium:load_task",
    description="open the door with the hand",
    horizon=30,
    control_hz=100,
    cameras=("vil_camera", "fixed"),
    proprio_dim=27,
    state_dim=39,
    action_dim=28,
    success_rule="the environment's `success`, at any step",
    packages=("gymnasium-robotics", "mujoco", "numpy"),
    options={
        "environment": "AdroitHandDoor-v1",
        "module": "gymnasium_robotics",
        "proprio_start": 0,
        "proprio_stop": 27,
        "minari": "adroit/door-v0",
    },
)


def test_reset_and_pictures_are_exact() -> None:
    task = load_task(SPEC)
    env = task.make_env(View(camera="vil_camera", image_px=48, render="lean"))
    first = env.reset(3)
    action = np.full(28, 0.2, np.float32)
    live = [env.step(action).observation["image"] for _ in range(5)]
    state = env.get_state()
    env.reset(9)
    again = env.reset(3)
    assert all(np.array_equal(first[name], again[name]) for name in ("image", "proprio", "state"))
    env.set_state(state)
    assert np.array_equal(env.observe()["image"], live[-1])
    env.close()


def test_minari_episodes_are_the_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium
    import gymnasium_robotics  # pyright: ignore[reportMissingTypeStubs]

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    gymnasium.register_envs(gymnasium_robotics)
    environment = gymnasium.make("AdroitHandDoor-v1")
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 28)).astype(np.float32)
    observations = [environment.reset(seed=0)[0]]
    steps = [environment.step(action) for action in actions]
    episode = minari.data_collector.EpisodeBuffer(
        id=0,
        seed=0,
        observations=observations + [step[0] for step in steps],
        actions=list(actions),
        rewards=[float(step[1]) for step in steps],
        terminations=[False] * 5,
        truncations=[False] * 4 + [True],
        infos={},
    )
    minari.create_dataset_from_buffers("adroit/door-v0", [episode], env=environment)
    environment.close()

    task = load_task(SPEC)
    env = task.make_env(None)
    env.reset(0)
    expert = task.make_expert(env, 0)
    for action in actions:
        assert np.allclose(expert(), action, atol=1e-6)
    assert np.array_equal(expert(), np.zeros(28))
    with pytest.raises(DemoError, match=r"has no episode from seed 1; record it"):
        task.make_expert(env, 1)
    env.close()
