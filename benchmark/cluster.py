"""What jobs ask of a cluster: settings, and what they come to for a job."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pvrbench.benchmark.limits import Positive, Real, Whole
from pvrbench.benchmark.records.keys import Frozen


class ClusterConfig(Frozen):
    """How the executors `slurm` and `ray` place jobs. None of it changes a number."""

    partition: str | None = None
    """Partition of Slurm; null takes the site's default."""
    account: str | None = None
    """Account of Slurm; null takes the user's default."""
    options: Mapping[str, str | int | bool] = {}
    """Further options of `sbatch`, such as `{constraint: skylake}`."""
    cores: Positive = 4
    """Processor cores of each job."""
    gpus: Whole = 0
    """GPUs of each job; 0 asks for one where `engine.device` is a CUDA device."""
    memory_gib: Real = 0
    """Memory of each job; 0 takes what simulators and encoder are expected to need."""
    minutes: Whole = 0
    """Time limit of each job; 0 takes twice the longest forecast, and ten minutes more."""
    parallel: Whole = 0
    """Jobs that run at the same time at most; 0 for no limit."""
    retries: Whole = 3
    """How often a job is given to another node when its own fails, or its time is over."""
    follow: bool = True
    """Wait for the end of the run; false returns when the jobs are handed in."""
    address: str = "auto"
    """Address of the Ray cluster; `auto` finds the one of this machine, `local` starts one on this machine."""
    shared_folder: bool = True
    """Whether all nodes see the run's folder and the cache; false brings results back through Ray."""


class ClusterError(RuntimeError):
    """A cluster cannot be used as asked; the text says what was asked and what to do."""


# Twice the forecast, and time to import and to load: a job that is ended too early has to start again.
TIME_FACTOR, TIME_MINUTES = 2.0, 10


def time_limit(seconds: float) -> int:
    """Minutes that a job is given whose forecast is some seconds."""
    return math.ceil(TIME_FACTOR * seconds / 60) + TIME_MINUTES
