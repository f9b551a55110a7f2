"""All jobs in this process, one after another; simulators and trainers of a job use all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pvrbench.benchmark.engine.executors.base import RunSite
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.plan import Job

R = TypeVar("R")


class Local:
    """The executor of one machine.

    Args:
        site: the run.
    """

    def __init__(self, site: RunSite) -> None:
        self.site = site

    def run(self, jobs: Sequence[Job], run_job: Callable[[Job], R], listener: Listener) -> Iterator[R]:
        """Does every job; see `Executor`."""
        del listener
        yield from map(run_job, jobs)
