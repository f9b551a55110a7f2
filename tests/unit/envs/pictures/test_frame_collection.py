"""Frames for pretraining: the same set whoever renders it, from tasks and states that nothing evaluates."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, cast

import numpy as np
import pytest

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.commands.frames import default_round, evaluated_tasks, pretraining_tasks
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.initial_states import FIRST_SEEDS
from pvrbench.envs.pictures import frame_collection
from pvrbench.envs.pictures.frame_collection import FIRST_SEED, TABLES, FrameRecipe, collect_frames, plan_clips
from pvrbench.envs.pictures.frame_set import FrameSetError, read_frame_set, verify_frame_set
from pvrbench.envs.pictures.rendering import TargetCamera, ViewRenderer
from pvrbench.envs.pictures.scene_variation import (
    SHAPES,
    Looks,
    dress,
    exchange_textures,
    foreign_bodies,
    looks_of,
    vary,
)
from pvrbench.envs.simulators.metaworld import load_task
from pvrbench.envs.spec import MAX_STATES, TaskSpec, View

RECIPE = FrameRecipe(
    tasks=("metaworld/push-v3", "metaworld/window-open-v3"), num_clips=3, frames_per_clip=3, stride=4, image_px=32
)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames") / "set"
    collect_frames(RECIPE, folder, 1)
    return folder


def test_a_set_is_read_as_it_was_collected(frames: Path) -> None:
    found = verify_frame_set(frames)
    assert found.images.shape == (9, 32, 32, 3)
    assert [clip.task for clip in found.clips] == [RECIPE.tasks[0], RECIPE.tasks[1], RECIPE.tasks[0]]
    assert all("puck" in clip.instruction or "window" in clip.instruction for clip in found.clips)
    assert len({image.tobytes() for image in found.images}) == 9
    assert np.isfinite(found.object_positions[:, 0]).all()
    seen = found.object_pixels[np.isfinite(found.object_pixels)]
    assert len(seen) > 9
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_processes_and_interruptions_change_nothing(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # Killed before the clips are put together, and one clip is lost.
        patch.setattr(frame_collection, "_assemble", interrupt)
        with pytest.raises(KeyboardInterrupt):
            collect_frames(RECIPE, folder, 2)
    next(iter((folder / ".clips").glob("*.npz"))).unlink()
    with pytest.raises(FrameSetError, match="no finished frame set"):
        read_frame_set(folder)
    collect_frames(RECIPE, folder, 2)
    assert verify_frame_set(folder).digest == read_frame_set(frames).digest
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in frames.iterdir())


def test_a_killed_process_ends_the_collection_with_a_remedy(tmp_path: Path) -> None:
    def kill_the_first() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.05)
        assert children[0].pid is not None
        os.kill(children[0].pid, signal.SIGKILL)

    killer = Thread(target=kill_the_first)
    killer.start()
    with pytest.raises(FrameSetError, match=r"was killed.*the same command goes on"):
        collect_frames(RECIPE, tmp_path / "set", 2)
    killer.join()


def test_neither_tasks_nor_states_are_evaluated_anywhere() -> None:
    chosen = pretraining_tasks()
    assert len(chosen) >= 46
    assert not set(chosen) & evaluated_tasks()
    assert {"metaworld/assembly-v3", "robosuite/lift", "robosuite/pick_place_can"} <= evaluated_tasks()
    seeds = {clip.seed for clip in plan_clips(FrameRecipe(tasks=chosen, num_clips=200))}
    assert min(seeds) >= FIRST_SEED
    assert max(FIRST_SEEDS.values()) + MAX_STATES <= FIRST_SEED


def test_an_evaluated_environment_is_not_shown_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, of in (
        ("metaworld/assembly-own", "metaworld/assembly-v3"),
        ("metaworld/sweep-own", "metaworld/sweep-v3"),
    ):
        monkeypatch.setitem(cast("dict[str, TaskSpec]", TASKS), name, replace(TASKS[of], name=name))
    assert "metaworld/assembly-own" not in pretraining_tasks()
    assert "metaworld/sweep-own" in pretraining_tasks()


def test_every_suite_has_a_fifth_of_the_clips() -> None:
    turn = default_round()
    assert set(turn) == set(pretraining_tasks())
    for some in (turn, turn[:20]):
        assert sum(name.startswith("robosuite/") for name in some) >= 0.2 * len(some)


CAMERA = TargetCamera((-0.5, 0.0, 0.4), (0.0, 0.6, 0.05))


@pytest.fixture
def push() -> Iterator[tuple[Any, Any, ViewRenderer, Looks]]:
    """An environment at rest, its state, a renderer and the looks that it came with."""
    env = load_task(TASKS["metaworld/push-v3"]).make_env(None)
    env.reset(0)
    model, data = env.scene
    renderer = ViewRenderer(model, View(camera="varied", image_px=64, render="lean"), CAMERA)
    yield env, data, renderer, looks_of(renderer.model)
    renderer.close()
    env.close()


def test_looks_change_the_picture_and_not_the_physics(push: tuple[Any, Any, ViewRenderer, Looks]) -> None:
    env, data, renderer, looks = push
    state, plain = env.get_state(), renderer.render(data)
    dress(renderer, looks, CAMERA, 1)
    first = renderer.render(data)
    dress(renderer, looks, CAMERA, 2)
    second = renderer.render(data)
    assert np.abs(first.astype(int) - second).mean() > 5
    assert np.array_equal(env.get_state(), state)
    vary(renderer.model, looks, 3, strength=0.0)
    renderer.take_camera(CAMERA)
    assert np.array_equal(renderer.render(data), plain)


def test_scenes_exchange_textures_and_show_foreign_bodies_and_touch_nothing(
    push: tuple[Any, Any, ViewRenderer, Looks],
) -> None:
    env, data, renderer, looks = push
    state, plain = env.get_state(), renderer.render(data)
    exchange_textures(renderer, looks, 1)
    first = renderer.render(data)
    exchange_textures(renderer, looks, 2)
    second = renderer.render(data)
    exchange_textures(renderer, looks, 1)
    assert np.array_equal(renderer.render(data), first)
    for one, other in ((plain, first), (plain, second), (first, second)):
        assert (np.abs(one.astype(int) - other).max(axis=-1) > 20).mean() > 0.05
    renderer.model.tex_data[:] = looks.textures
    renderer.upload_textures(range(renderer.model.ntex))
    assert np.array_equal(renderer.render(data), plain)
    assert np.array_equal(env.get_state(), state)
    table = TABLES["metaworld"]
    drawn = [foreign_bodies(table, seed) for seed in range(200)]
    assert {len(bodies) for bodies in drawn} == set(range(6))
    assert {body.shape for bodies in drawn for body in bodies} == set(SHAPES)
    places = np.array([body.pos for bodies in drawn for body in bodies]) - table.centre
    assert (np.abs(places[:, :2]) <= table.outer).all()
    assert (np.abs(places[:, :2]) >= table.inner).any(axis=1).all()
    many = max(drawn, key=len)
    seen = np.abs(renderer.render(data, many).astype(int) - plain).max(axis=-1) > 20
    assert seen.mean() > 0.005
    assert np.array_equal(renderer.render(data), plain)


def test_without_scenes_only_looks_vary(frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / "looks"
    collect_frames(replace(RECIPE, variation="looks"), folder, 1)
    plain, varied = read_frame_set(folder), read_frame_set(frames)
    assert plain.clips == varied.clips
    assert np.array_equal(plain.object_positions, varied.object_positions, equal_nan=True)
    differing = np.abs(plain.images.astype(int) - varied.images).max(axis=-1) > 20
    assert 0.01 < differing.mean() < 0.9


def test_a_set_from_before_there_were_scenes_is_one_of_looks(tmp_path: Path) -> None:
    folder, recipe = tmp_path / "old", replace(RECIPE, variation="looks", num_clips=1)
    collect_frames(recipe, folder, 1)
    path = folder / "recipe.json"
    told = json.loads(path.read_text())
    del told["variation"]
    path.write_text(json.dumps(told))
    collect_frames(recipe, folder, 1)
    with pytest.raises(FrameSetError, match="variation looks there, scenes here"):
        collect_frames(replace(recipe, variation="scenes"), folder, 1)


def test_points_lie_where_the_picture_shows_them() -> None:
    env = load_task(TASKS["metaworld/push-v3"]).make_env(None)
    observation = env.reset(0)
    model, data = env.scene
    place = observation["state"][4:7].astype(np.float64)  # the puck
    for camera in (TargetCamera((-0.5, 0.0, 0.4), (0.0, 0.6, 0.05)), TargetCamera((0.0, 0.95, 0.7), (0.0, 0.6, 0.0))):
        renderer = ViewRenderer(model, View(camera="varied", image_px=128, render="lean"), camera)
        plain = renderer.render(data).astype(int)
        puck = int(np.argmin(np.linalg.norm(data.geom_xpos - place, axis=1)))
        renderer.model.geom_matid[puck] = -1
        renderer.model.geom_rgba[puck] = (0.0, 1.0, 0.0, 1.0)
        changed = np.argwhere(np.abs(renderer.render(data).astype(int) - plain).max(axis=-1) > 40)
        assert len(changed) > 5
        x, y = 128 * renderer.project(place[None])[0]
        assert np.hypot(*(changed.mean(axis=0) - (y, x))) < 5
        assert np.isnan(renderer.project(np.array([[0.0, 5.0, 50.0]]))).all()
        renderer.close()
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tasks=metaworld/assembly-v3"], "metaworld/assembly-v3 is evaluated by a shipped protocol"),
        (["tasks=[metaworld/nothing]"], "metaworld/nothing is no task of the two suites"),
        (["clips=0"], "clips=0 is not valid: input should be greater than or equal to 1"),
        (["px=5"], "px=5 is not valid: input should be greater than or equal to 16"),
    ],
)
def test_bad_requests_are_answered_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frames", "collect", str(tmp_path / "set"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_damaged_sets_are_refused(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameSetError, match="holds frames of another recipe: num_clips 3 there, 4 here"):
        collect_frames(replace(RECIPE, num_clips=4), frames, 1)
    copy = tmp_path / "set"
    shutil.copytree(frames, copy)
    images = np.load(copy / "frames.npy")
    np.save(copy / "frames.npy", images[:-1])
    with pytest.raises(FrameSetError, match="do not fit its clips"):
        read_frame_set(copy)
    images[0, 0, 0, 0] ^= 1
    np.save(copy / "frames.npy", images)
    with pytest.raises(FrameSetError, match="are not those that were written"):
        verify_frame_set(copy)
    (copy / "frames.npy").write_bytes(b"")
    with pytest.raises(FrameSetError, match="cannot be read"):
        read_frame_set(copy)
    table = json.loads((copy / "clips.json").read_text())
    (copy / "clips.json").write_text(json.dumps({**table, "schema": 99}))
    np.save(copy / "frames.npy", images)
    with pytest.raises(FrameSetError, match="has schema 99"):
        read_frame_set(copy)
