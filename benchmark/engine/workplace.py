"""What all cell groups of a run share, and who hears of its progress."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.cache import FeatureCache
from pvrbench.benchmark.engine.trainers import Trainers
from pvrbench.benchmark.engine.video import VideoWriter
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.encoders.base import Encoder
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.base import Task
from pvrbench.envs.spec import TaskSpec


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
        trainers: where heads are trained.
        listener: hears of progress.
    """

    config: BenchmarkConfig
    device: str
    cache_dir: Path
    store: RecordStore
    features: FeatureCache
    videos: VideoWriter | None
    trainers: Trainers
    listener: Listener


def load_task(spec: TaskSpec) -> Task:
    """Imports the task's simulator and makes the task."""
    return cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Loads an encoder with its weights."""
    return cast("Callable[[EncoderSpec], Encoder]", pkgutil.resolve_name(spec.entry_point))(spec)
