"""The demonstrations of several tasks as one pool."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pvrbench.envs.catalog import TASKS
from pvrbench.envs.demos.demo_file import Demo, DemoError, write_demos
from pvrbench.envs.demos.demo_set import DemoSet
from pvrbench.envs.demos.demo_union import DemoUnion
from pvrbench.envs.spec import FIRST_SUCCESS

NAMES = ("language/touch_red", "language/touch_blue")


@pytest.fixture
def sets(tmp_path: Path) -> list[DemoSet]:
    found: list[DemoSet] = []
    for task, (name, count) in enumerate(zip(NAMES, (4, 3), strict=True)):
        demos = [
            Demo(
                seed=seed,
                actions=np.full((2 + seed, 7), task, np.float32),
                states=np.zeros((2 + seed, 5)),
                proprio=np.zeros((2 + seed, 9), np.float32),
                privileged=np.zeros((2 + seed, 33), np.float32),
            )
            for seed in range(count)
        ]
        path = tmp_path / f"{task}.hdf5"
        write_demos(path, TASKS[name], demos, action_noise=0.1, end=FIRST_SUCCESS)
        found.append(DemoSet.open(path, TASKS[name], 0.1, FIRST_SUCCESS))
    return found


def test_a_subset_has_as_many_demonstrations_of_each_task_and_is_nested(sets: list[DemoSet]) -> None:
    union = DemoUnion(sets)
    assert len(union) == 7
    for seed in range(3):
        smaller, larger = union.subset(1, seed), union.subset(3, seed)
        assert set(smaller) < set(larger)
        assert Counter(map(union.task_index, larger)) == {0: 3, 1: 3}
        assert larger[:3] == sets[0].subset(3, seed), "the same demonstrations as a policy of that task alone"
    assert union.demo(5).actions[0, 0] == 1
    assert [union.length(index) for index in range(7)] == [2, 3, 4, 5, 2, 3, 4] == list(union.manifest.lengths)


def test_more_demonstrations_than_one_task_has_are_refused(sets: list[DemoSet]) -> None:
    with pytest.raises(DemoError, match=r"4 demonstrations were asked for from a pool of 3 .*1\.hdf5.*ask for 1 to 3"):
        DemoUnion(sets).subset(4, 0)


def test_the_digest_is_that_of_all_pools_in_order(sets: list[DemoSet]) -> None:
    assert DemoUnion(sets).digest != DemoUnion(sets[::-1]).digest
    assert DemoUnion(sets).digest == DemoUnion(sets).digest
