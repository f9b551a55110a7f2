"""The contract of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.plan import Job

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RunSite:
    """Where a run's stores are: all that a worker elsewhere needs to do jobs. It can be pickled, as jobs can.

    A worker calls `pvrbench.benchmark.engine.runner.run_jobs(site, jobs, listener)`, which fits the configuration to
    the worker's own machine.

    Attributes:
        config: the configuration as it was given, not fitted to a machine.
        run_dir: the run's folder, which workers must see.
        policy_dir: the run whose stored policies are evaluated; None for a run that trains.
    """

    config: BenchmarkConfig
    run_dir: Path
    policy_dir: Path | None = None


@runtime_checkable
class Executor(Protocol):
    """Does jobs somewhere; made from a `RunSite`. The effects of a job go through the stores of its run alone."""

    def run(self, jobs: Sequence[Job], run_job: Callable[[Job], R], listener: Listener) -> Iterator[R]:
        """Does every job, and gives the result of each as it comes to its end.

        Args:
            jobs: the jobs; those of one task and view are neighbours.
            run_job: does one in this process, and only one at a time; faults of a job are in its result.
            listener: hears of what happens elsewhere; jobs in this process tell theirs.
        """
        ...
