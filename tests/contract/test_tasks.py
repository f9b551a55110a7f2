"""Every task of the catalog keeps the promises of `check_task`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import cast

import pytest

from envs.base import Task
from envs.catalog import TASK_SETS, TASKS
from envs.checks import check_task
from envs.spec import TaskSpec

# One of each suite is checked in every run; the rest takes minutes.
QUICK = ("metaworld/button-press-topdown-v3", "robosuite/lift")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]
)
def test_task_keeps_its_promises(name: str) -> None:
    task = cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(TASKS[name].entry_point))(TASKS[name])
    assert [verdict for verdict in check_task(task) if not verdict.is_kept] == []


def test_catalog_is_well_formed() -> None:
    assert sum(name.startswith("metaworld/") for name in TASKS) == 50
    for name, spec in TASKS.items():
        assert spec.name == name
        assert spec.horizon > 0
        assert len(set(spec.cameras)) == len(spec.cameras) > 0
    for members in TASK_SETS.values():
        assert set(members) <= set(TASKS)
