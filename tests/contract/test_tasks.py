"""Every task of the catalog keeps the promises of `check_task`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from pvrbench.envs.base import Observation, StepResult, Task, TaskEnv
from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.checks import check_task
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


def test_catalog_is_well_formed() -> None:
    assert sum(name.startswith("metaworld/") for name in TASKS) == 50
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
        return {**found, "image": self._spoil(found["image"])}

    def render_marks(self) -> Any:
        return self._spoil(self._env.render_marks())

    def step(self, action: Any) -> StepResult:
        found = self._env.step(action)
        return StepResult({**found.observation, "image": self._spoil(found.observation["image"])}, found.success)


@pytest.mark.parametrize(
    ("fault", "promise", "problem"),
    [
        ("flipped", "pictures are upright", "upside down"),
        ("bgr", "pictures are upright", "blue, green, red"),
        ("unseeded", "seeds differ", "four seeds gave 1"),
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
