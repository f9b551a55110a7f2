"""What a demonstration file is: task, simulator, noise, end, origin. Imports that do not fit are refused or noted."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pvrbench.envs.base import Array, Task
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.demos.collection import collect_demos, verify_demos
from pvrbench.envs.demos.demo_file import DemoError
from pvrbench.envs.demos.demo_set import DemoSet, demo_order, demo_path
from pvrbench.envs.demos.robomimic_file import export_demos, import_demos
from pvrbench.envs.demos.robomimic_metadata import check_metadata, metadata_of
from pvrbench.envs.simulators.metaworld import load_task
from pvrbench.envs.spec import FIRST_SUCCESS, DemoEnd

SPEC = TASKS["metaworld/button-press-topdown-v3"]
FULL, HOLD = DemoEnd("full_horizon"), DemoEnd("hold", 5)


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(replace(SPEC, horizon=100))


@pytest.fixture(scope="module")
def demos(task: Task, tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    return collect_demos(task, 3, tmp_path_factory.mktemp("demos") / "button.hdf5", action_noise=0.1)


def change(demos: DemoSet, path: Path, edit: Callable[[Any], None]) -> Path:
    """A copy of a demonstration file that was edited by hand."""
    path.write_bytes(demos.path.read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file["data"])
    return path


def foreign(demos: DemoSet, path: Path, actions: Callable[[Array], Array], noise: float = 0.1) -> Path:
    """The demonstrations as another project may have stored them, with other actions."""
    with h5py.File(path, "w") as file:
        for index in range(len(demos)):
            demo, group = demos.demo(index), file.create_group(f"data/demo_{index}")
            group.attrs["seed"] = demo.seed
            group["states"], group["actions"] = demo.states, actions(demo.actions)
        file["data"].attrs["action_noise"] = noise
    return path


def test_subsets_are_nested_and_as_they_always_were(demos: DemoSet) -> None:
    assert demo_order(5, 0) == np.random.default_rng([0, 5]).permutation(5).tolist()
    for seed in range(4):
        assert demos.subset(2, seed) == demos.subset(3, seed)[:2] == tuple(demo_order(3, seed)[:2])
    with pytest.raises(DemoError, match="4 demonstrations were asked for from a pool of 3"):
        demos.subset(4, 0)


def test_a_pool_is_a_prefix_with_a_digest_of_its_own(task: Task, demos: DemoSet) -> None:
    pool = DemoSet.open(demos.path, task.spec, 0.1, FIRST_SUCCESS, num_demos=2)
    assert (len(pool), pool.digest, len(pool.manifest.lengths)) == (2, demos.digest_of(2), 2)
    with pytest.raises(DemoError, match="no number 2"):
        pool.demo(2)
    with pytest.raises(DemoError, match=r"holds 3 demonstrations, and 4 are wanted.*demos collect .* num=4"):
        DemoSet.open(demos.path, task.spec, 0.1, FIRST_SUCCESS, num_demos=4)


@pytest.mark.parametrize("end", [HOLD, FULL])
def test_demonstrations_go_on_to_their_end_and_are_solved_there(
    task: Task, demos: DemoSet, tmp_path: Path, end: DemoEnd
) -> None:
    path = demo_path(tmp_path, task.spec, end)
    assert path != demo_path(tmp_path, task.spec, FIRST_SUCCESS)
    longer = collect_demos(task, 2, path, action_noise=0.1, end=end)
    assert verify_demos(task, longer) == []
    for index in range(2):
        first, demo = demos.demo(index), longer.demo(index)
        assert np.array_equal(demo.states[: len(first.states)], first.states)
        assert len(demo.actions) == (100 if end == FULL else len(first.actions) + 5)
    with pytest.raises(DemoError, match=f"end at {end}, not at first_success"):
        DemoSet.open(path, task.spec, 0.1, FIRST_SUCCESS)
    if end == FULL:
        with pytest.raises(DemoError, match="go on for 100 steps, and the horizon here is 200"):
            DemoSet.open(path, SPEC, 0.1, FULL)


def test_ends_are_written_as_they_are_read() -> None:
    for end in (FIRST_SUCCESS, HOLD, FULL):
        assert DemoEnd.parse(str(end)) == end
    for text in ("hold", "hold_0", "hold_-1", "success"):
        with pytest.raises(ValueError, match="does not say where demonstrations end"):
            DemoEnd.parse(text)


def test_files_from_before_ends_were_stated_still_open(task: Task, demos: DemoSet, tmp_path: Path) -> None:
    def forget(data: Any) -> None:
        for name in ("end", "horizon", "revision"):
            del data.attrs[name]

    old = DemoSet.open(change(demos, tmp_path / "old.hdf5", forget), task.spec, 0.1, FIRST_SUCCESS)
    assert (old.digest, old.manifest.end, old.manifest.origin) == (demos.digest, FIRST_SUCCESS, "scripted")


def test_another_noise_or_an_older_revision_of_the_task_is_refused(task: Task, demos: DemoSet) -> None:
    with pytest.raises(DemoError, match=r"collected with action noise 0\.1, not 0\.0.*another folder"):
        DemoSet.open(demos.path, task.spec, 0.0, FIRST_SUCCESS)
    with pytest.raises(DemoError, match=r"was corrected \(revision 0 there, 1 here\)"):
        DemoSet.open(demos.path, replace(task.spec, revision=1), 0.1, FIRST_SUCCESS)


def test_a_file_that_may_not_be_read_is_not_called_damaged(task: Task, demos: DemoSet, tmp_path: Path) -> None:
    path = change(demos, tmp_path / "private.hdf5", lambda _data: None)
    with path.open("r+b") as holder:
        # Another process, or a file system without locks, is no reason to fail.
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert DemoSet.open(path, task.spec, 0.1, FIRST_SUCCESS).digest == demos.digest
    folder = tmp_path / "folder.hdf5"
    folder.mkdir()
    with pytest.raises(DemoError, match=r"cannot be read: Is a directory\. Ask its owner") as caught:
        DemoSet.open(folder, task.spec, 0.1, FIRST_SUCCESS)
    assert "emove" not in str(caught.value)


def test_files_of_a_shared_cache_follow_the_umask(task: Task, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        path = collect_demos(task, 1, tmp_path / "shared" / "button.hdf5").path
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


def positions(actions: Array) -> Array:
    return np.concatenate([np.cumsum(actions[:, :3] * 0.01, 0) + 0.6, actions[:, 3:]], 1)


def scaled(actions: Array) -> Array:
    return np.concatenate([actions[:, :3] * 0.3, actions[:, 3:]], 1)


def turned(actions: Array) -> Array:
    return np.concatenate([-actions[:, :2], actions[:, 2:]], 1)


@pytest.mark.parametrize("actions", [positions, scaled, turned])
def test_actions_that_mean_something_else_are_refused(
    task: Task, demos: DemoSet, tmp_path: Path, actions: Callable[[Array], Array]
) -> None:
    source = foreign(demos, tmp_path / "foreign.hdf5", actions)
    with pytest.raises(DemoError, match=r"differ from the recorded motion by .*another scale, frame or controller"):
        import_demos(task, source, tmp_path / "imported.hdf5")
    assert not (tmp_path / "imported.hdf5").exists()


def test_what_an_import_changes_or_leaves_out_is_said(task: Task, demos: DemoSet, tmp_path: Path) -> None:
    source = foreign(demos, tmp_path / "foreign.hdf5", lambda actions: actions)
    with h5py.File(source, "r+") as file:
        data: Any = file["data"]
        data["demo_0/states"][3, 1] = np.nan
        data["demo_1/actions"][2, 3] *= 4.0
    imported, notes = import_demos(task, source, tmp_path / "imported.hdf5")
    assert len(imported) == 2
    assert notes[0] == "demo_0 was left out: its states are not finite."
    assert "1 of" in notes[1]
    assert "outside [-1, 1] and were clipped" in notes[1]
    assert imported.manifest.origin == "imported"
    assert str(imported.manifest.source).startswith("foreign.hdf5 (sha256 ")


def test_imported_demonstrations_are_neither_replaced_nor_topped_up(task: Task, demos: DemoSet, tmp_path: Path) -> None:
    source, path = foreign(demos, tmp_path / "foreign.hdf5", lambda actions: actions), tmp_path / "imported.hdf5"
    import_demos(task, source, path)
    content = path.read_bytes()
    for attempt in (lambda: import_demos(task, source, path), lambda: collect_demos(task, 5, path, action_noise=0.1)):
        with pytest.raises(DemoError, match=r"move (it|the file) away"):
            attempt()
    assert path.read_bytes() == content
    assert len(collect_demos(task, 3, path, action_noise=0.1)) == 3


def test_an_export_names_the_environment_as_robomimic_does(task: Task, demos: DemoSet, tmp_path: Path) -> None:
    export_demos(task, demos, tmp_path / "exported.hdf5")
    with h5py.File(tmp_path / "exported.hdf5", "r") as file:
        data: Any = file["data"]
        found = json.loads(data.attrs["env_args"])
    assert (found["env_name"], found["env_kwargs"]) == ("Meta-World/MT1", {"env_name": "button-press-topdown-v3"})
    lift = metadata_of(TASKS["robosuite/lift"])
    assert (lift["env_name"], lift["type"], lift["env_kwargs"]["robots"]) == ("Lift", 1, "Panda")
    imported, notes = import_demos(task, tmp_path / "exported.hdf5", tmp_path / "again.hdf5")
    assert (imported.digest, notes, imported.manifest.action_noise) == (demos.digest, (), 0.1)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        ({"env_name": "Door"}, r"recorded in Door, and robosuite/lift is Lift"),
        ({"env_version": "1.4.1"}, r"robosuite 1\.4\.1, and .* is installed"),
        ({"env_kwargs": {"robots": ["Sawyer"]}}, r"robots is \['Sawyer'\], expected Panda"),
        ({"env_kwargs": {"controller_configs": {"type": "JOINT_POSITION"}}}, "type JOINT_POSITION, expected OSC_POSE"),
        ({"env_kwargs": {"controller_configs": {"type": "OSC_POSE", "control_delta": False}}}, "absolute poses"),
        ({"env_kwargs": {"controller_configs": {"output_max": [1, 1, 1, 1, 1, 1]}}}, "output_max"),
    ],
)
def test_robomimic_metadata_that_does_not_fit_is_named(edit: dict[str, Any], problem: str) -> None:
    spec = TASKS["robosuite/lift"]
    ours = metadata_of(spec)
    check_metadata(spec, json.dumps(ours))
    with pytest.raises(DemoError, match=problem):
        check_metadata(spec, json.dumps({**ours, **edit}))
