"""The contract of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from pvrbench.benchmark.plan import Job

R = TypeVar("R")


@runtime_checkable
class Executor(Protocol):
    """Does jobs somewhere. A job is pickled data, and its effects go through the stores of its run alone."""

    def run(self, jobs: Sequence[Job], run_job: Callable[[Job], R]) -> Iterator[R]:
        """Does every job, and gives the result of each as it comes to its end.

        Args:
            jobs: the jobs; those of one task and view are neighbours.
            run_job: does one; faults of a job are in its result.
        """
        ...
