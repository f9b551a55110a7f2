"""Images of demonstrations, rendered from their states for any view, and kept on disk."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pkgutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import UInt8

from envs.base import Task, TaskEnv
from envs.demos import Demo, DemoError, DemoFile
from envs.spec import LEAN_VERSION, TaskSpec, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray


def render_demo(env: TaskEnv, demo: Demo) -> UInt8[Array, "T H W 3"]:
    """The images of a demonstration, the same bits as a live rollout's, by an environment with a view."""
    env.reset(demo.seed)
    frames: list[UInt8[Array, "H W 3"]] = []
    for state in demo.states:
        env.set_state(state)
        frames.append(env.observe()["image"])
    return np.stack(frames)


def load_frames(  # noqa: PLR0913 - what, whose, which, how, where; two settings with defaults
    spec: TaskSpec,
    file: DemoFile,
    indices: Sequence[int],
    view: View,
    cache_dir: Path,
    *,
    num_workers: int = 1,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> list[UInt8[Array, "T H W 3"]]:
    """Images of some demonstrations, memory-mapped; those that are missing are rendered by several processes.

    Args:
        spec: the task.
        file: its demonstrations.
        indices: which of them.
        view: camera, size and render mode.
        cache_dir: where images are kept.
        num_workers: processes to render with.
        on_progress: called with the number of frames done.

    Raises:
        DemoError: the images cannot be written.
    """
    demos = {index: file.demo(index) for index in indices}
    paths = {index: cache_dir / f"{_key(spec, demo, view)}.npy" for index, demo in demos.items()}
    missing = [index for index in indices if not _is_whole(paths[index], demos[index], view)]
    on_progress(sum(len(demos[index].actions) for index in indices if index not in missing))
    shares = [missing[start::num_workers] for start in range(num_workers) if missing[start::num_workers]]
    if shares:
        jobs = [(spec, view, [(demos[index], paths[index]) for index in share]) for share in shares]
        # Spawned, since OpenGL contexts do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with context.Pool(len(jobs), _register, (queue := context.SimpleQueue(),)) as pool:
            result = pool.map_async(_render_share, jobs, chunksize=1)
            done = 0
            total = sum(len(demos[index].actions) for index in missing)
            while done < total and not result.ready():
                while not queue.empty():
                    count = queue.get()
                    done += count
                    on_progress(count)
                result.wait(0.2)
            result.get()
    return [np.load(paths[index], mmap_mode="r") for index in indices]


_queue: Any = None


def _register(queue: object) -> None:
    global _queue  # noqa: PLW0603 - a pool hands its queue to its processes once
    _queue = queue


def _render_share(job: tuple[TaskSpec, View, list[tuple[Demo, Path]]]) -> None:
    spec, view, share = job
    task = cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)
    env = task.make_env(view)
    try:
        for demo, path in share:
            _save(path, render_demo(env, demo))
            _queue.put(len(demo.actions))
    finally:
        env.close()


def _save(path: Path, frames: UInt8[Array, "T H W 3"]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.save(file, frames)
        Path(temporary).replace(path)
    except OSError as error:
        raise DemoError(
            f"Cannot write {path}: {error.strerror}. Free space or set PVRBENCH_CACHE to another folder."
        ) from error


def _is_whole(path: Path, demo: Demo, view: View) -> bool:
    try:
        frames = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return frames.shape == (len(demo.actions), view.image_px, view.image_px, 3) and frames.dtype == np.uint8


def _key(spec: TaskSpec, demo: Demo, view: View) -> str:
    versions = [*(f"{name} {version(name)}" for name in spec.packages), f"lean {LEAN_VERSION}"]
    return hashlib.sha256(repr([spec.name, demo.digest, astuple(view), versions]).encode()).hexdigest()
