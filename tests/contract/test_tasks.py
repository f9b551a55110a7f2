"""Every task of the catalog keeps the promises of `check_task`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from pvrbench.envs.base import Observation, StepResult, Task, TaskEnv
from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.checks import check_task
from pvrbench.envs.simulators import metaworld
from pvrbench.envs.spec import TaskSpec, View

# One of each suite is checked in every run; the rest takes minutes.
QUICK = ("metaworld/button-press-topdown-v3", "robosuite/lift")


def _load(name: str) -> Task:
    return cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(TASKS[name].entry_point))(TASKS[name])


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]
)
def test_task_keeps_its_promises(name: str) -> None:
    assert [verdict for verdict in check_task(_load(name)) if not verdict.is_kept] == []


# Their simulators' resets return what was seen before the objects were put in place.
STALE = ("dial-turn-v3", "drawer-open-v3", "faucet-open-v3", "lever-pull-v3", "window-close-v3", "window-open-v3")


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in QUICK or name.removeprefix("metaworld/") in STALE
        else pytest.param(name, marks=pytest.mark.slow)
        for name in TASKS
    ],
)
def test_the_observation_after_a_reset_is_the_one_read_again(name: str) -> None:
    env = _load(name).make_env(None)
    try:
        for seed in range(3):
            first = env.reset(seed)
            env.set_state(env.get_state())
            again = env.observe()
            assert np.array_equal(first["proprio"], again["proprio"])
            assert np.array_equal(first["state"], again["state"])
    finally:
        env.close()


def test_catalog_is_well_formed() -> None:
    assert {f"metaworld/{name}" for name in metaworld.ENV_POLICY_MAP} <= set(TASKS)
    for name, spec in TASKS.items():
        assert spec.name == name
        assert spec.horizon > 0
        assert len(set(spec.cameras)) == len(spec.cameras) > 0
    for members in TASK_SETS.values():
        assert set(members) <= set(TASKS)


class _Spoilt:
    """An environment whose pictures, or whose reports of success, are not as they should be."""

    def __init__(self, env: TaskEnv, fault: str) -> None:
        self._env, self._fault = env, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def _spoil(self, image: Any) -> Any:
        return {"flipped": image[::-1], "bgr": image[..., ::-1]}.get(self._fault, image).copy()

    def reset(self, seed: int) -> Observation:
        found = self._env.reset(0 if self._fault == "unseeded" else seed)
        if self._fault == "stale":
            found["state"] += 0.02
        return {**found, "image": self._spoil(found["image"])}

    def render_marks(self) -> Any:
        return self._spoil(self._env.render_marks())

    def step(self, action: Any) -> StepResult:
        found = self._env.step(action)
        if self._fault == "solved":
            return StepResult(found.observation, success=True)
        return StepResult({**found.observation, "image": self._spoil(found.observation["image"])}, found.success)


@pytest.mark.parametrize(
    ("fault", "promise", "problem"),
    [
        ("flipped", "pictures are upright", "upside down"),
        ("bgr", "pictures are upright", "blue, green, red"),
        ("unseeded", "seeds differ", "four seeds gave 1"),
        ("stale", "the observation after a reset", "state of reset(0) change"),
        ("solved", "no episode begins solved", "an idle step solves seeds 2000000, "),
    ],
)
def test_a_broken_task_is_found(monkeypatch: pytest.MonkeyPatch, fault: str, promise: str, problem: str) -> None:
    task = _load("metaworld/button-press-topdown-v3")
    make_env = task.make_env

    def make_broken_env(view: View | None) -> _Spoilt:
        return _Spoilt(make_env(view), fault)

    monkeypatch.setattr(task, "make_env", make_broken_env)
    task.spec = replace(task.spec, cameras=task.spec.cameras[:1])
    broken = {verdict.name: verdict.problem for verdict in check_task(task, num_episodes=1) if not verdict.is_kept}
    assert any(name.startswith(promise) and problem in found for name, found in broken.items()), broken
