"""Rendering processes may be killed: what is missing is rendered by one, or the run ends with one line."""

from __future__ import annotations

import os
import resource
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pvrbench.envs.demos.demo_file import Demo, DemoError, DemoFile, write_demos
from pvrbench.envs.pictures.frames import load_frames
from pvrbench.envs.spec import TaskSpec, View

# An environment that shows its state, and whose process dies as often as a file of the task's options allows.
MORTAL_TASK = """
import os
from pathlib import Path

import numpy as np


class Env:
    def __init__(self, deaths):
        self.deaths = deaths

    def reset(self, seed):
        self.seed = seed

    def set_state(self, state):
        self.state = state

    def observe(self):
        if self.seed == 2 and self.deaths.stat().st_size:
            os.truncate(self.deaths, self.deaths.stat().st_size - 1)
            os._exit(1)
        return {"image": np.full((8, 8, 3), self.state[0], np.uint8)}

    def close(self):
        pass


class Task:
    def __init__(self, spec):
        self.deaths = Path(spec.options["deaths"])

    def make_env(self, view):
        if view.camera == "broken":
            raise RuntimeError("This camera is broken: mend it.")
        return Env(self.deaths)


def load(spec):
    return Task(spec)
"""
VIEW = View(camera="front", image_px=8, render="full")
NUM_STEPS = 3


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskSpec:
    (tmp_path / "mortal_task.py").write_text(MORTAL_TASK)
    (tmp_path / "deaths").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return TaskSpec(
        name="test/mortal",
        entry_point="mortal_task:load",
        description="none",
        horizon=NUM_STEPS,
        control_hz=10,
        cameras=("front", "broken"),
        proprio_dim=1,
        state_dim=1,
        action_dim=1,
        success_rule="none",
        packages=("numpy",),
        options={"deaths": str(tmp_path / "deaths")},
    )


@pytest.fixture
def file(spec: TaskSpec, tmp_path: Path) -> DemoFile:
    ones = np.ones((NUM_STEPS, 1), np.float32)
    demos = [Demo(seed, ones, np.full((NUM_STEPS, 1), 10.0 + seed), ones, ones) for seed in range(4)]
    write_demos(tmp_path / "demos.hdf5", spec, demos)
    return DemoFile(tmp_path / "demos.hdf5")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("num_deaths", [0, 1])
def test_after_a_process_died_the_rest_is_rendered_by_one(
    spec: TaskSpec, file: DemoFile, tmp_path: Path, num_deaths: int
) -> None:
    (tmp_path / "deaths").write_bytes(b"x" * num_deaths)
    done: list[int] = []
    frames = load_frames(spec, file, [3, 2, 1], VIEW, tmp_path / "frames", num_workers=2, on_progress=done.append)
    assert [images[-1, 0, 0, 0] for images in frames] == [13, 12, 11]
    assert sum(done) == 3 * NUM_STEPS
    assert (tmp_path / "deaths").stat().st_size == 0


@pytest.mark.timeout(60)
def test_processes_that_always_die_end_the_run_with_a_remedy(spec: TaskSpec, file: DemoFile, tmp_path: Path) -> None:
    (tmp_path / "deaths").write_bytes(b"x" * 10)
    expected = r"rendered demonstrations of test/mortal was killed.*engine\.num_workers.*more memory"
    with pytest.raises(DemoError, match=expected) as caught:
        load_frames(spec, file, [0, 2], VIEW, tmp_path / "frames", num_workers=2)
    assert "\n" not in str(caught.value)
    # What was finished is kept.
    (tmp_path / "deaths").write_bytes(b"")
    assert len(load_frames(spec, file, [0, 2], VIEW, tmp_path / "frames")) == 2


@pytest.mark.timeout(60)
def test_what_a_simulator_says_is_passed_on(spec: TaskSpec, file: DemoFile, tmp_path: Path) -> None:
    view = View(camera="broken", image_px=8, render="full")
    with pytest.raises(RuntimeError, match="This camera is broken: mend it"):
        load_frames(spec, file, [0, 1, 2, 3], view, tmp_path / "frames", num_workers=2)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", ["flipped bit", "zeros of the right shape", "cut short"])
def test_a_damaged_frame_file_is_rendered_again(spec: TaskSpec, file: DemoFile, tmp_path: Path, damage: str) -> None:
    load_frames(spec, file, [1], VIEW, tmp_path / "frames")
    (path,) = (tmp_path / "frames").iterdir()
    sound = path.read_bytes()
    if damage == "flipped bit":
        path.write_bytes(sound[:200] + bytes([sound[200] ^ 1]) + sound[201:])
    elif damage == "cut short":
        path.write_bytes(sound[:-100])
    else:
        with path.open("wb") as stream:
            np.save(stream, np.zeros((NUM_STEPS, 8, 8, 3), np.uint8))
    (frames,) = load_frames(spec, file, [1], VIEW, tmp_path / "frames")
    assert [image[0, 0, 0] for image in frames] == [11, 11, 11]
    assert path.read_bytes() == sound


def test_frames_of_a_look_are_kept_apart_and_readable_by_a_group(
    spec: TaskSpec, file: DemoFile, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        for look in ("nominal", "light/darker@1"):
            load_frames(spec, file, [1], replace(VIEW, look=look), tmp_path / "frames")
    finally:
        os.umask(before)
    paths = list((tmp_path / "frames").iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o640, 0o640]


def test_a_frame_file_that_cannot_be_read_is_told_as_such(spec: TaskSpec, file: DemoFile, tmp_path: Path) -> None:
    load_frames(spec, file, [1], VIEW, tmp_path / "frames")
    (path,) = (tmp_path / "frames").iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(DemoError, match=r"cannot be read: Is a directory\. Ask its owner"):
        load_frames(spec, file, [1], VIEW, tmp_path / "frames")


def test_more_demonstrations_than_files_may_be_open_are_read(spec: TaskSpec, file: DemoFile, tmp_path: Path) -> None:
    frames = load_frames(spec, file, [0, 1] * 200, VIEW, tmp_path / "frames")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        assert sum(images.mean() for images in frames) == 200 * 10 + 200 * 11
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
