"""What all jobs of a run share on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pvrbench.benchmark.config import BenchmarkConfig, EngineConfig
from pvrbench.benchmark.engine.cache import FeatureCache
from pvrbench.benchmark.engine.encoder_pool import EncoderPool
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.engine.look_pictures import PICTURES_NAME
from pvrbench.benchmark.engine.policy_store import PolicyStore
from pvrbench.benchmark.engine.simulator import SharedSimulators
from pvrbench.benchmark.engine.trainers import Trainers
from pvrbench.benchmark.engine.video import VideoWriter
from pvrbench.benchmark.records.keys import TrainKey
from pvrbench.benchmark.records.parts import PartStore
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.common.reference import resolve
from pvrbench.envs.base import Task
from pvrbench.envs.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all jobs of a run share on one machine. Use as a context manager.

    Attributes:
        config: the run's configuration, its engine fitted to this machine.
        cache_dir: root of demonstrations, frames and features.
        records: where records go.
        policies: where trained policies go, and are found again.
        trained: a record of each policy of another run that is evaluated here; none for a run that trains.
        features: the feature cache.
        encoders: the loaded encoders.
        simulators: the running environments.
        trainers: where heads are trained.
        videos: where videos go; None for none.
        listener: hears of progress.
    """

    config: BenchmarkConfig
    cache_dir: Path
    records: RecordStore
    policies: PolicyStore
    trained: Mapping[TrainKey, CellRecord]
    features: FeatureCache
    encoders: EncoderPool
    simulators: SharedSimulators
    trainers: Trainers
    videos: VideoWriter | None
    listener: Listener

    def __enter__(self) -> RunContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.simulators.close()
        self.trainers.close()
        self.features.trim()

    @property
    def parts(self) -> PartStore:
        """Where the episodes of cells go whose evaluation is not finished."""
        return PartStore(self.records.run_dir)

    @property
    def pictures(self) -> Path:
        """Where the pictures of looks go."""
        return self.records.run_dir / PICTURES_NAME

    @property
    def engine(self) -> EngineConfig:
        """How the machine is used."""
        return self.config.engine


def open_context(
    config: BenchmarkConfig,
    run_dir: Path,
    cache_dir: Path,
    listener: Listener,
    policy_dir: Path,
    trained: Mapping[TrainKey, CellRecord],
) -> RunContext:
    """Makes what the jobs of a run share.

    Args:
        config: the configuration, its engine fitted to this machine.
        run_dir: the run's folder.
        cache_dir: root of demonstrations, frames and features.
        listener: hears of progress.
        policy_dir: the run that trained the policies.
        trained: a record of each of its policies, where it is another run.
    """
    # New interpreters do not look into the current folder first: a `random.py` there is not the standard library's.
    # Packages of the simulators start one when they are imported.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    engine = config.engine
    return RunContext(
        config=config,
        cache_dir=cache_dir,
        records=RecordStore(run_dir),
        policies=PolicyStore(policy_dir / "policies", listener.say),
        trained=trained,
        features=FeatureCache(cache_dir / "features", int(engine.cache_gib * 2**30), listener.say),
        encoders=EncoderPool(engine),
        simulators=SharedSimulators(engine.num_workers, engine.envs_per_worker, engine.hang_s),
        trainers=Trainers(engine.num_workers, engine.device),
        videos=VideoWriter(run_dir / "videos", listener.say) if engine.videos else None,
        listener=listener,
    )


def load_task(spec: TaskSpec) -> Task:
    """Imports the task's simulator and makes the task."""
    return cast("Callable[[TaskSpec], Task]", resolve(spec.entry_point))(spec)
