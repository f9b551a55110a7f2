"""Images of demonstrations, rendered from their states for any view, and kept on disk."""

from __future__ import annotations

import atexit
import hashlib
import io
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from jaxtyping import UInt8

from pvrbench.common.files import PERMISSIONS, write_whole
from pvrbench.common.reference import resolve
from pvrbench.envs.base import Task, TaskEnv
from pvrbench.envs.demos.demo_file import Demo, DemoError, DemoFile
from pvrbench.envs.makers import makers_of
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.envs.processes import serve_parent
from pvrbench.envs.spec import LEAN_VERSION, LOOKS_VERSION, TaskSpec, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Length of a SHA-256 digest.
DIGEST_BYTES = 32


def render_demo(env: TaskEnv, demo: Demo) -> UInt8[Array, "T H W 3"]:
    """The images of a demonstration, the same bits as a live rollout's, by an environment with a view."""
    env.reset(demo.seed)
    frames: list[UInt8[Array, "H W 3"]] = []
    for state in demo.states:
        env.set_state(state)
        frames.append(env.observe()["image"])
    return np.stack(frames)


class FrameFiles(Sequence[Array]):
    """Images of some demonstrations, `T H W 3` each, memory-mapped when they are asked for.

    A mapped file stays open as long as its array is in use, and systems limit the number of open files.

    Args:
        paths: files in numpy's format.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Array: ...

    @overload
    def __getitem__(self, index: slice) -> FrameFiles: ...

    def __getitem__(self, index: int | slice) -> Array | FrameFiles:
        """The images of one demonstration, or several demonstrations."""
        if isinstance(index, slice):
            return FrameFiles(self._paths[index])
        return np.load(self._paths[index], mmap_mode="r")


def load_frames(  # noqa: PLR0913 - what, whose, which, how, where; two settings with defaults
    spec: TaskSpec,
    file: DemoFile,
    indices: Sequence[int],
    view: View,
    cache_dir: Path,
    *,
    num_workers: int = 1,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> FrameFiles:
    """Images of some demonstrations; those that are missing are rendered by several processes.

    Args:
        spec: the task.
        file: its demonstrations.
        indices: which of them.
        view: camera, size and render mode.
        cache_dir: where images are kept.
        num_workers: processes to render with.
        on_progress: called with the number of frames done.

    Raises:
        DemoError: the images cannot be written, or the processes are killed.
    """
    demos = {index: file.demo(index) for index in indices}
    paths = {index: cache_dir / f"{frames_key(spec, demo.digest, view)}.npy" for index, demo in demos.items()}
    sizes = {index: len(demo.actions) for index, demo in demos.items()}
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        on_progress(count)

    # Where a process was killed, by the system for its memory most likely: on with one.
    for processes in (num_workers, 1):
        missing = {index: path for index, path in paths.items() if not are_sound(path, sizes[index], view)}
        # What is there already, and what a pool finished before it broke.
        report(sum(size for index, size in sizes.items() if index not in missing) - done)
        try:
            _render_all((spec, file, view), missing, processes, report)
            break
        except BrokenProcessPool:
            continue
    else:
        raise DemoError(
            f"A process that rendered demonstrations of {spec.name} was killed, and so was the one that went on alone: "
            "memory is short, most likely. Set fewer engine.num_workers, or give the machine more memory."
        )
    return FrameFiles([paths[index] for index in indices])


def _render_all(
    served: tuple[TaskSpec, DemoFile, View],
    paths: Mapping[int, Path],
    num_workers: int,
    report: Callable[[int], None],
) -> None:
    """Renders demonstrations to their paths by several processes.

    Raises:
        BrokenProcessPool: one of them died; what was finished is kept.
    """
    if not paths:
        return
    # Spawned, since OpenGL contexts do not survive a fork.
    pool = ProcessPoolExecutor(
        min(num_workers, len(paths)), get_context("spawn"), initializer=_prepare, initargs=(served,)
    )
    try:
        for task in as_completed([pool.submit(_render, index, path) for index, path in paths.items()]):
            report(task.result())
    finally:
        # After a fault or an interruption, what has not begun never does.
        pool.shutdown(cancel_futures=True)


_served: Any = None


def _prepare(served: tuple[TaskSpec, DemoFile, View]) -> None:
    global _served  # noqa: PLW0603 - what one process renders is the same for all its jobs
    _served = served
    serve_parent()


@cache
def _environment() -> TaskEnv:
    """The environment of a rendering process, made by its first job, so that a fault is told as that job's."""
    spec, _, view = cast("tuple[TaskSpec, DemoFile, View]", _served)
    task = cast("Callable[[TaskSpec], Task]", resolve(spec.entry_point))(spec)
    env = task.make_env(view)
    atexit.register(env.close)
    return env


def _render(index: int, path: Path) -> int:
    """Renders one demonstration; returns its number of frames."""
    # Read here: a pool whose process dies while a large job is being handed to it may never notice.
    demo = cast("tuple[TaskSpec, DemoFile, View]", _served)[1].demo(index)
    save_frames(path, render_demo(_environment(), demo))
    return len(demo.actions)


def save_frames(path: Path, frames: UInt8[Array, "T H W 3"]) -> None:
    """Writes an array in numpy's format with the SHA-256 of everything before it at the end, which numpy skips.

    Raises:
        DemoError: it cannot be written.
    """
    content = io.BytesIO()
    np.save(content, frames)
    signed = content.getvalue() + hashlib.sha256(content.getbuffer()).digest()
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(signed))
    except PermissionError as error:
        raise DemoError(f"Cannot write {path}: {error.strerror}. {PERMISSIONS}") from error
    except OSError as error:
        raise DemoError(
            f"Cannot write {path}: {error.strerror}. Free space or set PVRBENCH_CACHE to another folder."
        ) from error


def are_sound(path: Path, num_frames: int, view: View) -> bool:
    """Whether a file has the right shape and the content that was written.

    Raises:
        DemoError: it is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) - DIGEST_BYTES
            if end <= 0:
                return False
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with content, memoryview(content) as view_of_all, view_of_all[:end] as signed:
            if hashlib.sha256(signed).digest() != bytes(view_of_all[end:]):
                return False
        frames = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DemoError(f"{path} cannot be read: {error.strerror}. {PERMISSIONS}") from error
    except (ValueError, EOFError):
        return False
    return frames.shape == (num_frames, view.image_px, view.image_px, 3) and frames.dtype == np.uint8


def frames_key(spec: TaskSpec, content: str, view: View) -> str:
    """Cache key of the images of some states, whose digest is `content`: all that determines their pixels."""
    # Drivers draw the same scene in slightly different pixels.
    made_by = [f"lean {LEAN_VERSION}", f"looks {LOOKS_VERSION}", gl_renderer()]
    versions = [*(f"{name} {maker}" for name, maker in makers_of(spec).items()), *made_by]
    return hashlib.sha256(repr([spec.name, content, astuple(view), versions]).encode()).hexdigest()
