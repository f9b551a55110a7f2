"""What all cell groups of a run share, and who hears of its progress."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch

from benchmark.cache import FeatureCache
from benchmark.config import BenchmarkConfig
from benchmark.records import RecordStore
from benchmark.video import VideoWriter
from encoders.base import Encoder
from encoders.spec import EncoderSpec
from envs.base import Task
from envs.spec import TaskSpec


@runtime_checkable
class Listener(Protocol):
    """Hears how a run goes; the command line shows it, tests collect it."""

    def say(self, text: str) -> None:
        """One line worth reading."""
        ...

    def stage(self, text: str, total: int) -> None:
        """A stage of known length begins."""
        ...

    def advance(self, count: int) -> None:
        """Some of the stage is done."""
        ...

    def finished(self, num_cells: int) -> None:
        """Some cells of the run are recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all groups of a run share.

    Attributes:
        config: the run's configuration.
        device: where encoders and heads run.
        cache_dir: root of demonstrations, frames and features.
        store: where records go.
        features: the feature cache.
        videos: where videos go; None for none.
        listener: hears of progress.
    """

    config: BenchmarkConfig
    device: str
    cache_dir: Path
    store: RecordStore
    features: FeatureCache
    videos: VideoWriter | None
    listener: Listener


@contextmanager
def one_thread() -> Generator[None]:
    """Runs small networks on one thread: several would take the cores from the simulators and wait for one another.

    The number of threads does not change a bit of the result.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_task(spec: TaskSpec) -> Task:
    """Imports the task's simulator and makes the task."""
    return cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Loads an encoder with its weights."""
    return cast("Callable[[EncoderSpec], Encoder]", pkgutil.resolve_name(spec.entry_point))(spec)
