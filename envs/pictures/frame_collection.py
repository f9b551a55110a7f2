"""Collects frames for pretraining: experts, good and disturbed, at work in scenes of changing looks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from pvrbench.common.files import write_whole
from pvrbench.common.reference import resolve
from pvrbench.envs.base import SimulationError, Task, TaskEnv
from pvrbench.envs.catalog import METAWORLD_WORKSPACE, ROBOSUITE_WORKSPACE, TASKS
from pvrbench.envs.pictures.frame_set import (
    CLIPS,
    FRAMES,
    PIXELS,
    POINTS,
    POSITIONS,
    SCHEMA,
    Clip,
    FrameSetError,
    digest_of,
)
from pvrbench.envs.pictures.rendering import TargetCamera, ViewRenderer
from pvrbench.envs.pictures.scene_variation import Looks, dress, exchange_textures, foreign_bodies, looks_of
from pvrbench.envs.processes import serve_parent
from pvrbench.envs.spec import LEAN_VERSION, View, Workspace

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Reset seeds begin where no split reaches, see `pvrbench.envs.initial_states`.
FIRST_SEED = 10_000_000
# Experts that do well, that have to recover, and that mostly stray.
NOISES = (0.0, 0.1, 0.3, 0.8)
WORDINGS = ("{}", "please {}", "the robot should {}", "{} with the gripper", "your task is to {}")

_TABLE, _BENCH = (0.0, 0.6, 0.05), (0.0, 0.0, 0.85)
CAMERAS: Mapping[str, Mapping[str, TargetCamera]] = {
    "metaworld": {
        "left": TargetCamera((-0.5, 0.0, 0.4), _TABLE),
        "right": TargetCamera((0.45, 0.0, 0.5), _TABLE),
        "top": TargetCamera((0.0, 0.95, 0.7), _TABLE),
        "far_right": TargetCamera((0.9, 0.1, 0.7), _TABLE),
        "far_left": TargetCamera((-0.9, 0.2, 0.8), _TABLE),
    },
    "robosuite": {
        "front": TargetCamera((0.5, 0.0, 1.35), _BENCH),
        "left": TargetCamera((0.3, -0.5, 1.3), _BENCH),
        "right": TargetCamera((0.3, 0.5, 1.3), _BENCH),
    },
}
TABLES: Mapping[str, Workspace] = {"metaworld": METAWORLD_WORKSPACE, "robosuite": ROBOSUITE_WORKSPACE}
_PARTS, _RECIPE = ".clips", "recipe.json"
_CLIPS_PER_JOB = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecipe:
    """What to collect; it determines every bit of the set.

    Attributes:
        tasks: catalog names; clips go round, so a name that is there twice gets twice the clips.
        num_clips: episodes.
        frames_per_clip: frames kept of an episode at most.
        stride: control steps between frames that are kept.
        image_px: side of the pictures.
        seed: draws initial states, looks, cameras, noise and wording.
        variation: `looks` draws light, colours and camera of each clip; `scenes` exchanges textures and puts foreign
            bodies on the table too.
    """

    tasks: tuple[str, ...]
    num_clips: int
    frames_per_clip: int = 40
    stride: int = 3
    image_px: int = 112
    seed: int = 0
    variation: Literal["looks", "scenes"] = "scenes"


def plan_clips(recipe: FrameRecipe) -> list[Clip]:
    """The clips of a recipe before they are recorded, their frames not counted yet."""
    if not recipe.tasks or recipe.num_clips < 1:
        raise FrameSetError("A frame set needs at least one task and one clip.")
    clips: list[Clip] = []
    for index in range(recipe.num_clips):
        task = TASKS[recipe.tasks[index % len(recipe.tasks)]]
        rng = np.random.default_rng([recipe.seed, index])
        cameras = sorted(CAMERAS[task.name.partition("/")[0]])
        clips.append(
            Clip(
                start=0,
                length=0,
                task=task.name,
                instruction=WORDINGS[rng.integers(len(WORDINGS))].format(task.description),
                seed=FIRST_SEED + recipe.seed * 1_000_000 + index,
                camera=cameras[rng.integers(len(cameras))],
                noise=float(NOISES[rng.integers(len(NOISES))]),
                success=False,
            )
        )
    return clips


def collect_frames(
    recipe: FrameRecipe,
    folder: Path,
    num_workers: int,
    on_clip: Callable[[int], None] = lambda _count: None,
) -> None:
    """Renders a set into a folder. An interrupted collection is taken up where it stopped, to the same set.

    Args:
        recipe: what to collect.
        folder: where to; what it holds must be of the same recipe.
        num_workers: processes; they change nothing but the time.
        on_clip: called with the number of clips finished.

    Raises:
        FrameSetError: the folder holds another recipe's clips, or cannot be written.
    """
    clips = plan_clips(recipe)
    _claim(folder, recipe)
    if (folder / CLIPS).exists():
        on_clip(len(clips))
        return
    missing = [index for index in range(len(clips)) if not _part(folder, index).exists()]
    on_clip(len(clips) - len(missing))
    # A process keeps the environment of a task, so a job takes many clips of one task.
    of_task: dict[str, list[int]] = {}
    for index in missing:
        of_task.setdefault(clips[index].task, []).append(index)
    jobs = [
        (recipe, folder, {index: clips[index] for index in indices[first : first + _CLIPS_PER_JOB]})
        for indices in of_task.values()
        for first in range(0, len(indices), _CLIPS_PER_JOB)
    ]
    if jobs:
        _record_all(jobs, min(num_workers, len(jobs)), on_clip)
    _assemble(folder, recipe, clips)


def _record_all(
    jobs: Sequence[tuple[FrameRecipe, Path, Mapping[int, Clip]]], num_workers: int, on_clip: Callable[[int], None]
) -> None:
    others = set(active_children())
    prepare = partial(serve_parent, dies_of_interruptions=True)
    with ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=prepare) as pool:
        try:
            for done in as_completed([pool.submit(_record_task, job) for job in jobs]):
                on_clip(done.result())
        except BaseException as error:
            # What is written is whole, so a process may end in the middle of a clip rather than after fifty.
            for process in set(active_children()) - others:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise FrameSetError(
                    "A process that rendered clips was killed: memory is short, most likely. Ask for fewer with "
                    "workers=; the same command goes on from there."
                ) from error
            raise


def _claim(folder: Path, recipe: FrameRecipe) -> None:
    path, ours = folder / _RECIPE, json.dumps(asdict(recipe))
    try:
        if path.exists():
            # Sets of before there were two variations have the first.
            theirs, wanted = {"variation": "looks", **json.loads(path.read_text())}, json.loads(ours)
            differing = [
                f"{key} {theirs.get(key)} there, {wanted[key]} here" for key in wanted if theirs.get(key) != wanted[key]
            ]
            if differing:
                raise FrameSetError(
                    f"{folder} holds frames of another recipe: {'; '.join(differing)}. Name another folder."
                )
            return
        (folder / _PARTS).mkdir(parents=True, exist_ok=True)
        _write(path, lambda file: file.write(ours.encode()))
    except (OSError, ValueError) as error:
        if isinstance(error, FrameSetError):
            raise
        raise FrameSetError(f"Cannot use {folder} ({error}). Name another folder.") from error


def _part(folder: Path, index: int) -> Path:
    return folder / _PARTS / f"{index:06d}.npz"


def _record_task(job: tuple[FrameRecipe, Path, Mapping[int, Clip]]) -> int:
    """Records clips of one task, and returns their number."""
    recipe, folder, clips = job
    spec = TASKS[next(iter(clips.values())).task]
    task = cast("Callable[[Any], Task]", resolve(spec.entry_point))(spec)
    env = task.make_env(None)
    model, _ = cast("Any", env).scene
    cameras = CAMERAS[spec.name.partition("/")[0]]
    first = next(iter(cameras.values()))
    renderer = ViewRenderer(model, View(camera="varied", image_px=recipe.image_px, render="lean"), first)
    looks = looks_of(renderer.model)
    try:
        for index, clip in clips.items():
            found = _record_clip(recipe, clip, (task, env), (renderer, looks))
            _write(_part(folder, index), lambda file, found=found: np.savez(file, **found))
    finally:
        renderer.close()
        env.close()
    return len(clips)


def _record_clip(
    recipe: FrameRecipe, clip: Clip, played: tuple[Task, TaskEnv], drawn: tuple[ViewRenderer, Looks]
) -> dict[str, Array]:
    (task, env), (renderer, looks) = played, drawn
    rng = np.random.default_rng([recipe.seed, clip.seed])
    suite = clip.task.partition("/")[0]
    observation = env.reset(clip.seed)
    expert = task.make_expert(env, clip.seed)
    drawn_from = int(rng.integers(2**31))
    dress(renderer, looks, CAMERAS[suite][clip.camera], drawn_from)
    bodies = foreign_bodies(TABLES[suite], drawn_from + 2) if recipe.variation == "scenes" else []
    if recipe.variation == "scenes":
        exchange_textures(renderer, looks, drawn_from + 3)
    _, data = cast("Any", env).scene
    images: list[Array] = []
    points: list[Array] = []
    pixels: list[Array] = []
    success = False
    for step in range(recipe.frames_per_clip * recipe.stride):
        if step % recipe.stride == 0:
            images.append(renderer.render(data, bodies))
            points.append(_points(suite, observation["state"]))
            pixels.append(renderer.project(points[-1]))
        if success:
            break
        action = expert() + rng.normal(0.0, clip.noise, task.spec.action_dim)
        try:
            result = env.step(action.astype(np.float32))
        except SimulationError:
            break  # what was seen until then is kept
        observation, success = result.observation, result.success
    arrays = {"images": np.stack(images), "points": np.stack(points), "pixels": np.stack(pixels)}
    return {**arrays, "success": np.array(success)}


def _points(suite: str, state: Array) -> Array:
    """Hand, main object and goal, as the privileged state of the suite holds them."""
    at = {"metaworld": (0, 4, 18), "robosuite": (0, 9, 14)}[suite]
    return np.stack([state[start : start + 3] for start in at]).astype(np.float64)


def _assemble(folder: Path, recipe: FrameRecipe, clips: Sequence[Clip]) -> None:
    parts = [dict(np.load(_part(folder, index))) for index in range(len(clips))]
    starts = np.cumsum([0, *(len(part["images"]) for part in parts)]).tolist()
    whole = tuple(
        replace(clip, start=start, length=len(part["images"]), success=bool(part["success"]))
        for clip, part, start in zip(clips, parts, starts, strict=False)
    )
    images = np.concatenate([part["images"] for part in parts])
    packages = sorted({name for clip in clips for name in TASKS[clip.task].packages})
    table = {
        "schema": SCHEMA,
        "image_px": recipe.image_px,
        "seed": recipe.seed,
        "digest": digest_of(images, whole),
        "points": POINTS,
        "provenance": {
            "recipe": asdict(recipe),
            "packages": {name: version(name) for name in packages},
            "lean": LEAN_VERSION,
        },
        "clips": [asdict(clip) for clip in whole],
    }
    _write(folder / FRAMES, lambda file: np.save(file, images))
    for name, key in ((POSITIONS, "points"), (PIXELS, "pixels")):
        values = np.concatenate([part[key] for part in parts]).astype(np.float32)
        _write(folder / name, lambda file, values=values: np.save(file, values))
    _write(folder / CLIPS, lambda file: file.write(json.dumps(table, indent=1).encode()))
    shutil.rmtree(folder / _PARTS, ignore_errors=True)


def _write(path: Path, fill: Callable[[Any], object]) -> None:
    """Writes a file so that it is there whole or not at all."""

    def fill_path(temporary: Path) -> None:
        with temporary.open("wb") as file:
            fill(file)

    try:
        write_whole(path, fill_path)
    except OSError as error:
        raise FrameSetError(
            f"Cannot write {path}: {error.strerror or error}. Free space; the same command goes on from there."
        ) from error
