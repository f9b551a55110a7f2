"""Runs a plan: demonstrations, features, training and evaluation of each cell group, one record per cell."""

from __future__ import annotations

import os
import pkgutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from benchmark.cache import FeatureCache, cache_root
from benchmark.config import BenchmarkConfig
from benchmark.features import FrameFeatures, TileEncoder, demo_features
from benchmark.plan import CellGroup, Plan
from benchmark.provenance import package_versions, processor, provenance
from benchmark.records import (
    Cell,
    CellRecord,
    Cost,
    Digests,
    Episode,
    RecordError,
    RecordStore,
    write_atomically,
)
from benchmark.rollout import Evaluation, EvaluationRule, Outcome, Policy, evaluate
from benchmark.simulator import SimulatorPool
from benchmark.video import VideoWriter
from encoders.base import Encoder
from encoders.cost import flops_per_frame
from encoders.fusion import fuse, history_indices
from encoders.readout import fit_readout, read
from encoders.readout_catalog import ReadoutSpec
from encoders.spec import EncoderSpec
from envs.base import Array, InitialStates, Task
from envs.demos import Demo, DemoFile, collect_demos
from envs.frames import load_frames
from envs.rendering import gl_renderer
from envs.spec import TaskSpec, View
from policies.base import TrainedHead, TrainJob
from policies.behavior_cloning import train_heads


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


@dataclass(slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        num_recorded: cells recorded by this run.
        num_skipped: cells that were recorded before.
        frames_encoded: demonstration frames that went through an encoder.
        frames_cached: demonstration frames whose features were in the cache.
        errors: for each failed cell group its name and the reason.
    """

    num_recorded: int = 0
    num_skipped: int = 0
    frames_encoded: int = 0
    frames_cached: int = 0
    errors: dict[str, str] = field(default_factory=dict[str, str])


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


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The demonstrations of one task that the pending cells of a group train on."""

    digest: str
    demos: Mapping[int, Demo]


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(config: BenchmarkConfig) -> str:
    """The configured device, `auto` resolved."""
    if config.engine.device != "auto":
        return config.engine.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def pending_cells(plan: Plan, store: RecordStore) -> set[Cell]:
    """Cells of a plan that are not recorded yet.

    Raises:
        RecordError: a cell is recorded under another protocol than the plan's.
    """
    records, refusals = store.read()
    broken = {refusal.path for refusal in refusals}
    recorded = {record.cell: record.settings for record in records}
    pending: set[Cell] = set()
    for group in plan.groups:
        for cell in group.cells:
            if store.path_of(cell) in broken:
                raise RecordError(f"{store.path_of(cell)} is not a sound record. Move it away to run its cell again.")
            if cell not in recorded:
                pending.add(cell)
                continue
            old, new = (
                recorded[cell].model_dump(mode="json"),
                group.settings[cell.head].model_dump(mode="json"),
            )
            differing = [f"{key} ({old[key]} there, {new[key]} here)" for key in new if old[key] != new[key]]
            if differing:
                raise RecordError(
                    f"{store.records_dir.parent} holds results under another protocol: {', '.join(differing)}. "
                    "Give this run a name of its own with name=..."
                )
    return pending


def run_plan(plan: Plan, run_dir: Path, listener: Listener) -> RunSummary:
    """Runs what is not recorded yet.

    A group that fails is reported and recorded in `run_dir/errors`; the others go on.

    Raises:
        RecordError: the folder cannot be written, or holds results of another protocol.
    """
    config = plan.config
    store = RecordStore(run_dir)
    pending = pending_cells(plan, store)
    _prepare(run_dir, config)
    cache_dir = cache_root(config.engine.cache_dir)
    workplace = Workplace(
        config=config,
        device=choose_device(config),
        cache_dir=cache_dir,
        store=store,
        features=FeatureCache(cache_dir / "features", int(config.engine.cache_gib * 2**30)),
        videos=VideoWriter(run_dir / "videos") if config.engine.videos else None,
        listener=listener,
    )
    summary = RunSummary(num_skipped=len(plan.cells) - len(pending))
    listener.finished(summary.num_skipped)
    for (task, view), groups in groupby(plan.groups, key=lambda group: (group.task, group.view)):
        wanted = [group for group in groups if pending & set(group.cells)]
        if wanted:
            _run_neighbours(plan, workplace, (task, view), [_only(group, pending) for group in wanted], summary)
    workplace.features.trim()
    return summary


def _only(group: CellGroup, pending: set[Cell]) -> CellGroup:
    return replace(group, cells=tuple(cell for cell in group.cells if cell in pending))


def _prepare(run_dir: Path, config: BenchmarkConfig) -> None:
    try:
        write_atomically(run_dir / "config.json", config.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RecordError(
            f"Cannot write to {run_dir}: {error.strerror}. Choose another folder with run_dir=..."
        ) from error


def _run_neighbours(
    plan: Plan,
    work: Workplace,
    place: tuple[TaskSpec, View | None],
    groups: Sequence[CellGroup],
    summary: RunSummary,
) -> None:
    """Runs the groups of one task and view, which share their environments."""
    with _pool(work.config, *place) as pool:
        for group in groups:
            name = f"{group.task.name} ({group.camera}) {group.encoder.name}"
            try:
                _run_group(plan, work, group, pool(), summary)
            except Exception as error:  # noqa: BLE001 - the boundary at which one group's failure ends
                summary.errors[name] = f"{error}" or type(error).__name__
                slug = group.cells[0].slug
                write_atomically(work.store.records_dir.parent / "errors" / f"{slug}.txt", traceback.format_exc())
                work.listener.say(f"failed: {name}: {error}")


@contextmanager
def _pool(config: BenchmarkConfig, task: TaskSpec, view: View | None) -> Iterator[Callable[[], SimulatorPool]]:
    """Gives a function that starts the environments when they are first wanted."""
    started: list[SimulatorPool] = []

    def start() -> SimulatorPool:
        if not started:
            engine = config.engine
            num_workers = engine.num_workers or num_cores()
            per_worker = engine.envs_per_worker or -(-2 * engine.tile // num_workers)
            started.append(SimulatorPool(task, view, num_workers, per_worker, engine.hang_s))
        return started[0]

    try:
        yield start
    finally:
        for pool in started:
            pool.__exit__(None, None, None)


def load_task(spec: TaskSpec) -> Task:
    """Imports the task's simulator and makes the task."""
    return cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Loads an encoder with its weights."""
    return cast("Callable[[EncoderSpec], Encoder]", pkgutil.resolve_name(spec.entry_point))(spec)


def demo_order(pool_size: int, seed: int) -> list[int]:
    """The order in which a seed takes demonstrations from the pool; its first N are its subset of size N."""
    return [int(index) for index in np.random.default_rng([seed, pool_size]).permutation(pool_size)]


def _run_group(plan: Plan, work: Workplace, group: CellGroup, pool: SimulatorPool, summary: RunSummary) -> None:
    started = time.monotonic()
    encoder = _tile_encoder(plan, work, group)
    task = load_task(group.task)
    states = task.initial_states(work.config.split, work.config.num_episodes)
    demos = _demonstrations(work, group, task)
    digests = Digests(
        initial_states=states.digest,
        demos=demos.digest,
        encoder=encoder.encoder.digest,
        simulator=package_versions(group.task.packages),
    )
    features = _features(work, group, encoder, demos)
    encoded = encoder.num_encoded
    summary.frames_encoded += encoded
    summary.frames_cached += sum(len(demo.actions) for demo in demos.demos.values()) - encoded
    trained = _train(plan, work, group, demos, features)
    timing = {"prepare_and_train_s": time.monotonic() - started, "frames_encoded": float(encoded)}
    recorder = _Recorder(work, group, encoder, digests, trained, timing)
    _evaluate(plan, work, group, pool, states, recorder)
    summary.num_recorded += recorder.num_written


def _tile_encoder(plan: Plan, work: Workplace, group: CellGroup) -> TileEncoder:
    raw = any(plan.readouts[cell.readout].raw_grid for cell in group.cells)
    return TileEncoder(load_encoder(group.encoder), work.device, work.config.engine.tile, keep_raw=raw)


def _demonstrations(work: Workplace, group: CellGroup, task: Task) -> Demonstrations:
    path = demo_path(work.cache_dir, group.task)
    file = ensure_demos(task, work.config.demo_pool, path, work.listener)
    chosen = {index for cell in group.cells for index in demo_order(work.config.demo_pool, cell.seed)[: cell.num_demos]}
    return Demonstrations(file.digest_of(work.config.demo_pool), {index: file.demo(index) for index in sorted(chosen)})


def demo_path(cache_dir: Path, task: TaskSpec) -> Path:
    """Where the demonstrations of a task are stored."""
    return cache_dir / "demos" / f"{task.name}.hdf5"


def ensure_demos(task: Task, num_demos: int, path: Path, listener: Listener) -> DemoFile:
    """Opens the demonstrations of a task, collecting those that are missing."""
    if path.exists() and len(file := DemoFile(path)) >= num_demos:
        return file
    listener.stage(f"{task.spec.name}: collecting demonstrations", num_demos)
    return collect_demos(task, num_demos, path, on_progress=listener.advance)


def _features(
    work: Workplace, group: CellGroup, encoder: TileEncoder, demos: Demonstrations
) -> dict[int, FrameFeatures]:
    indices = list(demos.demos)
    num_frames = sum(len(demo.actions) for demo in demos.demos.values())
    inputs: Sequence[Array]
    if group.view is not None:
        work.listener.stage(f"{group.task.name}: rendering demonstrations", num_frames)
        file = DemoFile(demo_path(work.cache_dir, group.task))
        workers = work.config.engine.num_workers or num_cores()
        inputs = load_frames(
            group.task, file, indices, group.view, work.cache_dir / "frames", workers, work.listener.advance
        )
    elif group.encoder.modality == "state":
        inputs = [demo.privileged for demo in demos.demos.values()]
    else:
        inputs = [np.zeros((len(demo.actions), 0), np.float32) for demo in demos.demos.values()]
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: encoding", num_frames)
    found = demo_features(encoder, work.features, inputs, work.listener.advance)
    return dict(zip(indices, found, strict=True))


def _train(
    plan: Plan,
    work: Workplace,
    group: CellGroup,
    demos: Demonstrations,
    features: Mapping[int, FrameFeatures],
) -> dict[Cell, TrainedHead]:
    """Trains the heads of all cells; those with one readout and head type in one batched computation."""
    trained: dict[Cell, TrainedHead] = {}
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: training {len(group.cells)} heads", len(group.cells))
    for (readout, head), members in groupby(group.cells, key=lambda cell: (cell.readout, cell.head)):
        cells = list(members)
        inputs = _head_inputs(work.config, plan.readouts[readout], features)
        jobs = [_job(work.config, plan.readouts[readout], cell, demos, inputs) for cell in cells]
        spec = replace(plan.heads[head], options={**plan.heads[head].options, **work.config.head_options})
        heads = train_heads(spec, jobs, work.config.train.settings(), work.device)
        trained.update(zip(cells, heads, strict=True))
        work.listener.advance(len(cells))
    return trained


def _head_inputs(
    config: BenchmarkConfig, readout: ReadoutSpec, features: Mapping[int, FrameFeatures]
) -> dict[int, Tensor]:
    """What the head reads at each step of each demonstration: the readout, fused over the history."""
    inputs: dict[int, Tensor] = {}
    for index, found in features.items():
        vectors = read(readout, found.of(readout))
        if config.history > 1:
            vectors = fuse(vectors[history_indices(len(vectors), config.history)], config.fusion)
        inputs[index] = vectors
    return inputs


def _job(
    config: BenchmarkConfig,
    readout: ReadoutSpec,
    cell: Cell,
    demos: Demonstrations,
    inputs: Mapping[int, Tensor],
) -> TrainJob:
    chosen = demo_order(config.demo_pool, cell.seed)[: cell.num_demos]
    features = torch.cat([inputs[index] for index in chosen])
    return TrainJob(
        features=features,
        proprio=torch.from_numpy(np.concatenate([demos.demos[index].proprio for index in chosen])),
        actions=torch.from_numpy(np.concatenate([demos.demos[index].actions for index in chosen])),
        seed=cell.seed,
        front=fit_readout(readout, features, cell.seed, config.budget_dim),
    )


def _evaluate(
    plan: Plan,
    work: Workplace,
    group: CellGroup,
    pool: SimulatorPool,
    states: InitialStates,
    recorder: _Recorder,
) -> None:
    config = work.config
    sound = [cell for cell in group.cells if recorder.trained[cell].failure is None]
    for cell in group.cells:
        if cell not in sound:
            recorder.record(cell, (), f"training failed: {recorder.trained[cell].failure}")
    policies = [Policy(plan.readouts[cell.readout], recorder.trained[cell], cell.seed) for cell in sound]
    rule = EvaluationRule(group.task.horizon, config.success_rule == "last_step", config.history, config.fusion)
    jobs = [(policy, index, seed) for policy in range(len(sound)) for index, seed in enumerate(states.seeds)]
    finished: dict[int, list[Episode]] = {policy: [] for policy in range(len(sound))}

    def take(outcome: Outcome) -> None:
        work.listener.advance(1)
        episodes = finished[outcome.policy]
        episodes.append(outcome.episode)
        cell = sound[outcome.policy]
        if outcome.frames and work.videos is not None:
            work.videos.write(cell, outcome.episode, outcome.frames, group.task.control_hz)
        if len(episodes) == len(states.seeds):
            recorder.record(cell, sorted(episodes, key=lambda episode: episode.index), None)

    largest = max(config.num_demos), config.seeds[0]
    filmed = frozenset(job for job in jobs if job[1] == 0 and (sound[job[0]].num_demos, sound[job[0]].seed) == largest)
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: evaluating", len(jobs))
    evaluation = Evaluation(policies, jobs, rule, filmed if work.videos is not None else frozenset())
    evaluate(pool, recorder.encoder, evaluation, take)


@dataclass(slots=True)
class _Recorder:
    """Writes the record of each cell of a group as soon as its last episode is over."""

    work: Workplace
    group: CellGroup
    encoder: TileEncoder
    digests: Digests
    trained: Mapping[Cell, TrainedHead]
    timing: Mapping[str, float]
    num_written: int = 0
    started: float = field(default_factory=time.monotonic)

    def record(self, cell: Cell, episodes: Sequence[Episode], failure: str | None) -> None:
        head = self.trained[cell]
        spec, work = self.group.encoder, self.work
        device = processor() if work.device == "cpu" else torch.cuda.get_device_name(work.device)
        gl = gl_renderer() if self.group.view is not None else ""
        params = dict(head.num_params)
        record = CellRecord(
            cell=cell,
            settings=self.group.settings[cell.head],
            digests=self.digests,
            provenance=provenance(device, gl, work.config.engine.tile, spec),
            cost=Cost(
                encoder_params=spec.num_params,
                readout_params=params.get("front", 0),
                head_params=params.get("head", 0),
                flops_per_frame=flops_per_frame(self.encoder.encoder),
                feature_dim=int(cast("int", head.train_log.get("feature_dim", 0))),
            ),
            train_log=cast("Mapping[str, float]", dict(head.train_log)),
            failure=failure,
            episodes=tuple(episodes),
            timing={**self.timing, "since_evaluation_began_s": time.monotonic() - self.started},
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        work.store.write(record)
        self.num_written += 1
        work.listener.finished(1)
