"""The robosuite experts: they succeed, recover, are smooth, and have no memory."""

from __future__ import annotations

import numpy as np
import pytest

from pvrbench.envs.base import Array
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.simulators.robosuite import RobosuiteEnv, RobosuiteTask, load_task

ROBOSUITE = [name for name in TASKS if name.startswith("robosuite/")]


def episode(task: RobosuiteTask, env: RobosuiteEnv, seed: int, noise: float = 0.0) -> tuple[bool, Array]:
    """Success within the horizon, and the expert's actions, with noise added to what is executed."""
    rng = np.random.default_rng(seed)
    env.reset(seed)
    expert = task.make_expert(env, seed)
    actions: list[Array] = []
    for _ in range(task.spec.horizon):
        action = expert()
        actions.append(action)
        disturbed = action.copy()
        disturbed[:6] += noise * rng.standard_normal(6)
        if env.step(disturbed.astype(np.float32)).success:
            return True, np.stack(actions)
    return False, np.stack(actions)


@pytest.mark.parametrize("name", ROBOSUITE)
def test_expert_solves_varied_starts_smoothly(name: str) -> None:
    task = load_task(TASKS[name])
    env = task.make_env(None)
    results = [episode(task, env, seed) for seed in range(5)]
    env.close()
    assert all(success for success, _ in results)
    longest = max(len(actions) for _, actions in results)
    assert longest <= task.spec.horizon * 0.7, "the horizon leaves no room for a slower policy"
    for _, actions in results:
        assert np.abs(actions).max() <= 1.0
        changes = np.linalg.norm(np.diff(actions[:, :3], axis=0), axis=1)
        assert np.median(changes) < 0.15


@pytest.mark.parametrize("name", ROBOSUITE)
def test_seed_decides_the_demonstration(name: str) -> None:
    task = load_task(TASKS[name])
    env = task.make_env(None)
    env.reset(0)
    first, second, again = (task.make_expert(env, seed)() for seed in (1, 2, 1))
    env.close()
    assert np.array_equal(first, again)
    assert not np.allclose(first, second)


@pytest.mark.parametrize("name", ["robosuite/lift", "robosuite/door"])
def test_expert_recovers_from_noise(name: str) -> None:
    task = load_task(TASKS[name])
    env = task.make_env(None)
    successes = [episode(task, env, seed, noise=0.15)[0] for seed in range(4)]
    env.close()
    assert all(successes)


@pytest.mark.parametrize("name", ROBOSUITE)
def test_expert_depends_on_the_present_state_alone(name: str) -> None:
    task = load_task(TASKS[name])
    env = task.make_env(None)
    _, actions = episode(task, env, 3)
    env.reset(3)
    for step, action in enumerate(actions):
        fresh = task.make_expert(env, 3)  # made in the middle of the episode: it has seen nothing
        assert np.array_equal(fresh(), action), step
        env.step(action)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ROBOSUITE)
def test_expert_success_rate_over_200_starts(name: str) -> None:
    task = load_task(TASKS[name])
    env = task.make_env(None)
    successes = [episode(task, env, seed)[0] for seed in range(10_000, 10_200)]
    env.close()
    assert np.mean(successes) >= 0.95
