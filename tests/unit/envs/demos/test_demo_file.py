"""Demonstration files: content, resumption, damage, replay, exchange with robomimic's schema."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pvrbench.envs.base import Array, Task
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.demos.collection import collect_demos, verify_demos
from pvrbench.envs.demos.demo_file import DemoError, DemoFile
from pvrbench.envs.demos.demo_set import DemoSet
from pvrbench.envs.demos.robomimic_file import export_demos, import_demos
from pvrbench.envs.simulators.metaworld import load_task
from pvrbench.envs.spec import FIRST_SUCCESS, View

SPEC = TASKS["metaworld/reach-v3"]


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(SPEC)


@pytest.fixture(scope="module")
def file(task: Task, tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    return collect_demos(task, 5, tmp_path_factory.mktemp("demos") / "reach.hdf5")


def opened(path: Path) -> DemoSet:
    return DemoSet.open(path, SPEC, 0.0, FIRST_SUCCESS)


def copy_of(file: DemoSet, path: Path) -> Path:
    path.write_bytes(file.path.read_bytes())
    return path


def test_demos_are_the_first_successes_in_robomimics_schema(file: DemoSet) -> None:
    assert [file.demo(index).seed for index in range(5)] == [0, 1, 2, 3, 4]
    with h5py.File(file.path, "r") as content:
        data: Any = content["data"]
        assert set(data) == {f"demo_{index}" for index in range(5)}
        assert data.attrs["total"] == sum(group.attrs["num_samples"] for group in data.values())
        assert json.loads(data.attrs["env_args"])["env_name"] == SPEC.name
        for group in data.values():
            assert {"actions", "states", "obs", "dones", "rewards"} <= set(group)
            assert len({len(group[name]) for name in ("actions", "states", "obs/proprio", "obs/state")}) == 1
        masks: Any = content["mask"]
        assert [name.decode() for name in masks["5_demos"]] == [f"demo_{index}" for index in range(5)]


def test_extending_keeps_the_prefix_and_equals_one_collection(task: Task, file: DemoSet, tmp_path: Path) -> None:
    collect_demos(task, 2, tmp_path / "grown.hdf5")
    grown = collect_demos(task, 5, tmp_path / "grown.hdf5")
    assert grown.digests == file.digests
    assert grown.digest_of(2) != grown.digest_of(5)


def test_interruption_keeps_what_is_finished_and_resumes_to_the_same(task: Task, file: DemoSet, tmp_path: Path) -> None:
    finished: list[int] = []

    def interrupt(count: int) -> None:
        finished.append(count)
        if sum(finished) == 3:
            raise KeyboardInterrupt

    path = tmp_path / "reach.hdf5"
    with pytest.raises(KeyboardInterrupt):
        collect_demos(task, 5, path, interrupt)
    assert len(DemoFile(path)) == 3
    assert collect_demos(task, 5, path).digests == file.digests
    assert [item.name for item in tmp_path.iterdir()] == ["reach.hdf5"]


def test_full_disk_is_one_line_and_leaves_the_old_file(
    task: Task, file: DemoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reach.hdf5"
    collect_demos(task, 1, path)

    def no_space(*_args: object, **_settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(h5py.Group, "create_dataset", no_space)
        with pytest.raises(DemoError, match=r"Cannot write .*No space left on device.*Free space"):
            collect_demos(task, 2, path)
    assert opened(path).digests == file.digests[:1]
    assert [item.name for item in tmp_path.iterdir()] == ["reach.hdf5"]


def test_truncated_and_foreign_files_are_refused(file: DemoSet, tmp_path: Path) -> None:
    truncated = copy_of(file, tmp_path / "truncated.hdf5")
    truncated.write_bytes(truncated.read_bytes()[:5000])
    foreign = tmp_path / "foreign.hdf5"
    foreign.write_text("no HDF5 at all")
    for path in (truncated, foreign):
        with pytest.raises(DemoError, match="is not a sound demonstration file"):
            DemoFile(path)
    with pytest.raises(DemoError, match="There is no demonstration file"):
        DemoFile(tmp_path / "absent.hdf5")


@pytest.mark.parametrize("attack", ["huge", "external", "text"])
def test_a_hostile_file_is_refused_before_it_is_read(file: DemoSet, tmp_path: Path, attack: str) -> None:
    path = copy_of(file, tmp_path / "hostile.hdf5")
    with h5py.File(path, "r+") as content:
        group: Any = content["data/demo_0"]
        del group["states"]
        if attack == "huge":
            group.create_dataset("states", shape=(10**9, 1000), dtype="f8", chunks=(1, 1000))
        elif attack == "external":
            group["states"] = h5py.ExternalLink(str(file.path), "data/demo_0/states")
        else:
            group["states"] = b"import os"
    with pytest.raises(DemoError, match=r"damaged at demo_0 \(states"):
        DemoFile(path).demo(0)


def test_tampering_is_seen_when_a_demonstration_is_read(file: DemoSet, tmp_path: Path) -> None:
    path = copy_of(file, tmp_path / "tampered.hdf5")
    with h5py.File(path, "r+") as content:
        content["data/demo_1/actions"][0] = 0.123  # pyright: ignore[reportIndexIssue] # h5py's union of node types
    tampered = DemoFile(path)
    tampered.demo(0)
    with pytest.raises(DemoError, match=r"damaged at demo_1 \(content hash\)"):
        tampered.demo(1)
    with pytest.raises(DemoError, match="has 5 demonstrations; there is no number 5"):
        tampered.demo(5)


def test_another_task_or_simulator_version_is_named(file: DemoSet, tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="holds demonstrations of 'metaworld/reach-v3', not of 'robosuite/lift'"):
        DemoSet.open(file.path, TASKS["robosuite/lift"], 0.0, FIRST_SUCCESS)
    path = copy_of(file, tmp_path / "old.hdf5")
    with h5py.File(path, "r+") as content:
        attributes: Any = content["data"].attrs
        arguments = json.loads(str(attributes["env_args"]))
        arguments["packages"]["mujoco"] = "2.3.7"
        attributes["env_args"] = json.dumps(arguments)
    with pytest.raises(DemoError, match=r"another simulator \(mujoco 2\.3\.7 there, .* here\)"):
        opened(path)


def test_a_file_of_another_schema_is_named(file: DemoSet, tmp_path: Path) -> None:
    path = copy_of(file, tmp_path / "schema.hdf5")
    with h5py.File(path, "r+") as content:
        attributes: Any = content["data"].attrs
        attributes["schema"] = 1
    with pytest.raises(DemoError, match=r"another version of pvrbench \(schema 1, here 2\)\. Use that version"):
        DemoFile(path)


def test_replay_verifies_and_names_what_differs(task: Task, file: DemoSet, tmp_path: Path) -> None:
    assert verify_demos(task, file) == []
    path = copy_of(file, tmp_path / "other.hdf5")
    digests = list(file.digests)
    with h5py.File(path, "r+") as content:
        group: Any = content["data/demo_0"]
        group["actions"][:] = 0.0
        demo = dataclasses.replace(file.demo(0), actions=np.zeros_like(file.demo(0).actions))
        content["data"].attrs["digests"] = json.dumps([demo.digest, *digests[1:]])
    (complaint,) = verify_demos(task, opened(path))
    assert complaint == "demo_0 (seed 0) no longer succeeds"


def test_action_noise_disturbs_states_but_not_labels_and_replays(task: Task, file: DemoSet, tmp_path: Path) -> None:
    noisy = collect_demos(task, 2, tmp_path / "noisy.hdf5", action_noise=0.2)
    assert np.array_equal(noisy.demo(0).actions[0], file.demo(0).actions[0])
    assert not np.array_equal(noisy.demo(0).states[1], file.demo(0).states[1])
    assert verify_demos(task, noisy) == []
    with pytest.raises(DemoError, match=r"was collected with action noise 0\.2, not 0\.0"):
        collect_demos(task, 3, noisy.path)


def test_export_fills_images_and_import_gives_the_demonstrations_back(
    task: Task, file: DemoSet, tmp_path: Path
) -> None:
    view = View(camera="left_cap2", image_px=32, render="lean")
    exported = tmp_path / "exported.hdf5"
    export_demos(task, file, exported, view)
    with h5py.File(exported, "r") as content:
        demo: Any = content["data/demo_0"]
        images: Array = demo["obs/left_cap2_image"][:]
        assert images.shape == (len(file.demo(0).actions), 32, 32, 3)
        assert np.array_equal(demo["next_obs/proprio"][:-1], demo["obs/proprio"][1:])
    imported, notes = import_demos(task, exported, tmp_path / "imported.hdf5")
    assert (notes, verify_demos(task, imported)) == ((), [])
    assert imported.manifest.source is not None
    for index in range(5):
        assert np.array_equal(imported.demo(index).states, file.demo(index).states)
        assert np.array_equal(imported.demo(index).actions, file.demo(index).actions)


def test_import_of_another_robot_is_refused(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "foreign.hdf5"
    with h5py.File(path, "w") as content:
        content["data/demo_0/actions"] = np.zeros((3, 9))
        content["data/demo_0/states"] = np.zeros((3, 5))
    with pytest.raises(DemoError, match=r"cannot be imported .*actions of shape \(3, 9\).*width 4"):
        import_demos(task, path, tmp_path / "imported.hdf5")


def test_frames_equal_a_live_rollout_and_damage_is_mended(task: Task, file: DemoSet, tmp_path: Path) -> None:
    view = View(camera="corner2", image_px=48, render="lean")
    frames = file.frames(view, tmp_path, [0, 2], num_workers=2)
    env = task.make_env(view)
    for index, images in zip((0, 2), frames, strict=True):
        demo = file.demo(index)
        image = env.reset(demo.seed)["image"]
        for action, stored in zip(demo.actions, images, strict=True):
            assert np.array_equal(image, stored)
            image = env.step(action).observation["image"]
    env.close()
    before = np.array(frames[0])
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(file.frames(view, tmp_path, [0])[0], before)
