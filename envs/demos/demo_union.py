"""The demonstrations of several tasks as one pool, for a policy that learns all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from pvrbench.envs.demos.demo_file import Demo, Manifest
from pvrbench.envs.demos.demo_set import DemoSet
from pvrbench.envs.spec import View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray


class DemoUnion:
    """The pools of several tasks; a subset holds as many demonstrations of each task.

    Demonstrations are numbered through: those of the first task, then those of the second, and so on.

    Args:
        sets: the pool of each task.
    """

    def __init__(self, sets: Sequence[DemoSet]) -> None:
        self._sets = tuple(sets)
        self._starts = (0, *accumulate(len(each) for each in sets))

    @property
    def digest(self) -> str:
        """Content hash of all pools."""
        return hashlib.sha256("".join(each.digest for each in self._sets).encode()).hexdigest()

    @property
    def manifest(self) -> Manifest:
        """What the first pool says of itself, with the lengths of all."""
        lengths = tuple(length for each in self._sets for length in each.manifest.lengths)
        return replace(self._sets[0].manifest, task="+".join(each.task.name for each in self._sets), lengths=lengths)

    def __len__(self) -> int:
        return self._starts[-1]

    def task_index(self, index: int) -> int:
        """The task of a demonstration, by its place among the tasks."""
        return next(task for task, start in enumerate(self._starts[1:]) if index < start)

    def length(self, index: int) -> int:
        """Number of steps of a demonstration."""
        return self._in(index)[0].length(self._in(index)[1])

    def demo(self, index: int) -> Demo:
        """Reads one demonstration and checks its content hash.

        Raises:
            DemoError: its content was changed.
        """
        own, inner = self._in(index)
        return own.demo(inner)

    def subset(self, num_demos: int, seed: int) -> tuple[int, ...]:
        """Indices of the demonstrations that a seed trains on: `num_demos` of each task, nested task by task.

        Raises:
            DemoError: a pool is smaller.
        """
        return tuple(
            start + index
            for start, each in zip(self._starts, self._sets, strict=False)
            for index in each.subset(num_demos, seed)
        )

    def frames(
        self,
        view: View,
        cache_dir: Path,
        indices: Sequence[int],
        num_workers: int = 1,
        on_progress: Callable[[int], None] = lambda _count: None,
    ) -> list[UInt8[Array, "T H W 3"]]:
        """Images of some demonstrations, see `DemoSet.frames`.

        Raises:
            DemoError: a demonstration is damaged, the images cannot be written, or the processes are killed.
        """
        found: dict[int, UInt8[Array, "T H W 3"]] = {}
        for task, (start, each) in enumerate(zip(self._starts, self._sets, strict=False)):
            own = [index for index in indices if self.task_index(index) == task]
            inner = [index - start for index in own]
            if own:
                found.update(zip(own, each.frames(view, cache_dir, inner, num_workers, on_progress), strict=True))
        return [found[index] for index in indices]

    def _in(self, index: int) -> tuple[DemoSet, int]:
        task = self.task_index(index)
        return self._sets[task], index - self._starts[task]


Demonstrations = DemoSet | DemoUnion
"""What policies learn from."""


def task_index(demos: Demonstrations, index: int) -> int:
    """The task of a demonstration, by its place among the tasks that are learned."""
    return demos.task_index(index) if isinstance(demos, DemoUnion) else 0
