"""The demonstrations of one task: the object through which the rest of the project opens them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pvrbench.envs.demos.demo_file import Demo, DemoError, DemoFile, Manifest
from pvrbench.envs.makers import makers_of
from pvrbench.envs.pictures.frames import FrameFiles, load_frames
from pvrbench.envs.spec import DemoEnd, TaskSpec, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray


def demo_path(cache_dir: Path, task: TaskSpec, end: DemoEnd | None = None) -> Path:
    """Where the demonstrations of a task are kept; each end has a file of its own.

    Args:
        cache_dir: root of the cache.
        task: the task.
        end: where the demonstrations end; None is the task's own `demo_end`.
    """
    end = end or task.demo_end
    suffix = {"first_success": "", "hold": f".{end}", "full_horizon": f".{end}_{task.horizon}"}[end.rule]
    return cache_dir / "demos" / f"{task.name}{suffix}.hdf5"


def demo_order(pool_size: int, seed: int) -> list[int]:
    """The order in which a seed takes demonstrations from the pool; its first N are its subset of size N."""
    return [int(index) for index in np.random.default_rng([seed, pool_size]).permutation(pool_size)]


def check_identity(file: DemoFile, task: TaskSpec, noise: float, end: DemoEnd) -> None:
    """Compares a file with what it should be.

    The noise of an imported file is not compared: its actions come from elsewhere.

    Raises:
        DemoError: it is of another task, simulator version, code or model, task revision, action noise, end or horizon.
    """
    found, path = file.manifest, file.path
    elsewhere = "set PVRBENCH_CACHE to another folder to collect anew"
    if found.task != task.name:
        raise DemoError(f"{path} holds demonstrations of {found.task!r}, not of {task.name!r}. Give the right file.")
    differing = [
        f"{name} {found.packages.get(name)} there, {here} here"
        for name, here in makers_of(task).items()
        # Files of earlier versions know nothing of code and models.
        if found.packages.get(name, None if name in task.packages else here) != here
    ]
    if differing:
        raise DemoError(
            f"{path} was collected in another simulator ({'; '.join(differing)}). Bring those back, or {elsewhere}."
        )
    if found.revision != task.revision:
        raise DemoError(
            f"{path} was collected before {task.name} was corrected (revision {found.revision} there, "
            f"{task.revision} here). Move it away, or {elsewhere}."
        )
    if found.source is None and found.action_noise != noise:
        raise DemoError(
            f"{path} was collected with action noise {found.action_noise}, not {noise}. "
            f"Ask for that noise, or {elsewhere}."
        )
    if found.end != end:
        raise DemoError(f"The demonstrations of {path} end at {found.end}, not at {end}. Ask for that end.")
    if end.rule == "full_horizon" and found.horizon != task.horizon:
        raise DemoError(
            f"The demonstrations of {path} go on for {found.horizon} steps, and the horizon here is {task.horizon}. "
            "Ask for that horizon, or collect anew."
        )


class DemoSet:
    """A pool of demonstrations of one task: the first ones of a file whose identity was checked.

    Args:
        file: the opened file.
        task: its task.
        num_demos: size of the pool.
    """

    def __init__(self, file: DemoFile, task: TaskSpec, num_demos: int) -> None:
        self._file = file
        self.task = task
        self.path = file.path
        self.digests: tuple[str, ...] = tuple(file.digests[:num_demos])

    @classmethod
    def open(cls, path: Path, task: TaskSpec, noise: float, end: DemoEnd, num_demos: int | None = None) -> DemoSet:
        """Opens a file and checks what it is.

        Args:
            path: the HDF5 file.
            task: the task it should be of.
            noise: standard deviation of the action noise it should have been collected with.
            end: where its demonstrations should end.
            num_demos: size of the pool; None takes all that the file holds.

        Raises:
            DemoError: the file is absent or not sound, its identity is another, or it holds too few.
        """
        file = DemoFile(path)
        check_identity(file, task, noise, end)
        wanted = len(file) if num_demos is None else num_demos
        if len(file) < wanted:
            raise too_few(file, task, wanted)
        return cls(file, task, wanted)

    @property
    def digest(self) -> str:
        """Content hash of the pool; it does not change when more are collected."""
        return self.digest_of(len(self))

    @property
    def manifest(self) -> Manifest:
        """What the pool is: task, simulator, noise, end, origin, lengths."""
        return replace(self._file.manifest, lengths=self._file.manifest.lengths[: len(self)])

    def __len__(self) -> int:
        return len(self.digests)

    def length(self, index: int) -> int:
        """Number of steps of a demonstration."""
        return self._file.manifest.lengths[index]

    def demo(self, index: int) -> Demo:
        """Reads one demonstration and checks its content hash.

        Raises:
            DemoError: there is none of that index, or its content was changed.
        """
        if not 0 <= index < len(self):
            raise DemoError(f"The pool of {self.path} has {len(self)} demonstrations; there is no number {index}.")
        return self._file.demo(index)

    def digest_of(self, num_demos: int) -> str:
        """Content hash of the first demonstrations."""
        return hashlib.sha256("".join(self.digests[:num_demos]).encode()).hexdigest()

    def subset(self, num_demos: int, seed: int) -> tuple[int, ...]:
        """Indices of the demonstrations that a seed trains on; those of a smaller number are its prefix.

        Raises:
            DemoError: the pool is smaller.
        """
        if not 0 < num_demos <= len(self):
            raise DemoError(
                f"{num_demos} demonstrations were asked for from a pool of {len(self)} ({self.path}); "
                f"ask for 1 to {len(self)}, or collect more."
            )
        return tuple(demo_order(len(self), seed)[:num_demos])

    def frames(
        self,
        view: View,
        cache_dir: Path,
        indices: Sequence[int],
        num_workers: int = 1,
        on_progress: Callable[[int], None] = lambda _count: None,
    ) -> FrameFiles:
        """Images of some demonstrations, each memory-mapped when it is asked for; those that are missing are rendered.

        Args:
            view: camera, size, render mode and look.
            cache_dir: where images are kept.
            indices: which demonstrations.
            num_workers: processes to render with.
            on_progress: called with the number of frames done.

        Raises:
            DemoError: a demonstration is damaged, the images cannot be written, or the processes are killed.
        """
        return load_frames(
            self.task, self._file, indices, view, cache_dir, num_workers=num_workers, on_progress=on_progress
        )


def too_few(file: DemoFile, task: TaskSpec, wanted: int) -> DemoError:
    """The error for a file that holds fewer demonstrations than are wanted."""
    if file.manifest.source is not None:
        return DemoError(
            f"{file.path} holds {len(file)} demonstrations imported from {file.manifest.source}, and {wanted} are "
            f"wanted. Imported demonstrations are not topped up with scripted ones: set demo_pool={len(file)}, move "
            "the file away and import more, or set PVRBENCH_CACHE to another folder."
        )
    return DemoError(
        f"{file.path} holds {len(file)} demonstrations, and {wanted} are wanted. "
        f"Collect them with `pvrbench demos collect {task.name} num={wanted}`."
    )
