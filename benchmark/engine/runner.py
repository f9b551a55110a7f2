"""Runs a plan: demonstrations, features, training and evaluation of each cell group, one record per cell."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import torch

from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.cache import FeatureCache
from pvrbench.benchmark.engine.evaluation import Recorder, encoder_facts, evaluate_group
from pvrbench.benchmark.engine.expert import record_expert
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.machine import available_mib, cache_root, num_cores, sized
from pvrbench.benchmark.engine.provenance import own_commit, simulator_versions
from pvrbench.benchmark.engine.simulator import SimulatorPool
from pvrbench.benchmark.engine.trainers import Trainers
from pvrbench.benchmark.engine.training import demonstrations, features_of, train
from pvrbench.benchmark.engine.video import VideoWriter
from pvrbench.benchmark.engine.workplace import Listener, Workplace, load_encoder, load_task
from pvrbench.benchmark.plan import CellGroup, Plan
from pvrbench.benchmark.records.schema import Cell, Digests
from pvrbench.benchmark.records.store import RecordError, RecordStore, write_atomically
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.location import WeightsError, together
from pvrbench.envs.spec import TaskSpec, View


@dataclass(slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        num_recorded: cells recorded by this run.
        num_skipped: cells that were recorded before.
        frames_encoded: demonstration frames that went through an encoder.
        frames_cached: demonstration frames whose features were in the cache.
        failed: for each cell that was recorded without episodes, or with none that came to an end, its name and the
            reason.
        errors: for each failed cell group its name and the reason.
    """

    num_recorded: int = 0
    num_skipped: int = 0
    frames_encoded: int = 0
    frames_cached: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    errors: dict[str, str] = field(default_factory=dict[str, str])


def fit_to_machine(config: BenchmarkConfig) -> BenchmarkConfig:
    """The configuration with what is automatic in its engine resolved on this machine."""
    engine = config.engine
    device = engine.device if engine.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return config.model_copy(update={"engine": sized(engine, device, num_cores(), available_mib())})


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
            old, new = recorded[cell], group.settings[cell.head]
            differing = [f"{key} ({getattr(old, key)} there, {getattr(new, key)} here)" for key in new.differences(old)]
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
        WeightsError: an encoder's weights cannot be had.
    """
    plan = replace(plan, config=fit_to_machine(plan.config))
    config, engine = plan.config, plan.config.engine
    listener.say(
        f"Engine: {engine.num_workers} simulator processes of {engine.envs_per_worker} environments, "
        f"{engine.tile} frames an encoder call, {engine.precision} on {engine.device} (engine.* sets them)."
    )
    store = RecordStore(run_dir)
    pending = pending_cells(plan, store)
    _check_weights({group.encoder.name: group.encoder for group in plan.groups if pending & set(group.cells)}.values())
    _prepare(run_dir, config)
    own_commit()  # of what runs, whatever is checked out meanwhile
    cache_dir = cache_root(config.engine.cache_dir)
    trainers = Trainers(engine.num_workers, engine.device)
    workplace = Workplace(
        config=config,
        device=engine.device,
        cache_dir=cache_dir,
        store=store,
        features=FeatureCache(cache_dir / "features", int(config.engine.cache_gib * 2**30)),
        videos=VideoWriter(run_dir / "videos") if config.engine.videos else None,
        trainers=trainers,
        listener=listener,
    )
    summary = RunSummary(num_skipped=len(plan.cells) - len(pending))
    listener.finished(summary.num_skipped)
    with trainers:
        for (task, view), groups in groupby(plan.groups, key=lambda group: (group.task, group.view)):
            wanted = [group for group in groups if pending & set(group.cells)]
            if wanted:
                _run_neighbours(plan, workplace, (task, view), [_only(group, pending) for group in wanted], summary)
    workplace.features.trim()
    return summary


def _check_weights(specs: Iterable[EncoderSpec]) -> None:
    """Hours into a run is no time to learn that a file is missing or does not fit."""
    errors: list[WeightsError] = []
    for spec in specs:
        if spec.weights is not None:
            try:
                load_encoder(spec)
            except WeightsError as error:
                errors.append(error)
    if errors:
        raise together(errors)


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
                _run_group(plan, work, group, pool, summary)
            except Exception as error:  # noqa: BLE001 - the boundary at which one group's failure ends
                summary.errors[name] = f"{error}" or type(error).__name__
                slug = group.cells[0].slug
                write_atomically(work.store.records_dir.parent / "errors" / f"{slug}.txt", traceback.format_exc())
                work.listener.say(f"failed: {name}: {error}")


@contextmanager
def _pool(config: BenchmarkConfig, task: TaskSpec, view: View | None) -> Generator[Callable[[], SimulatorPool]]:
    """Gives a function that starts the environments when they are first wanted."""
    started: list[SimulatorPool] = []

    def start() -> SimulatorPool:
        if not started:
            engine = config.engine
            started.append(SimulatorPool(task, view, engine.num_workers, engine.envs_per_worker, engine.hang_s))
        return started[0]

    try:
        yield start
    finally:
        for pool in started:
            pool.__exit__(None, None, None)


def _run_group(
    plan: Plan, work: Workplace, group: CellGroup, pool: Callable[[], SimulatorPool], summary: RunSummary
) -> None:
    if group.encoder.modality == "expert":
        summary.num_recorded += record_expert(work, group)
        return
    started = time.monotonic()
    encoder = _tile_encoder(plan, work, group)
    task = load_task(group.task)
    states = task.initial_states(work.config.split, work.config.num_episodes)
    demos = demonstrations(work, group, task)
    digests = Digests(
        initial_states=states.digest,
        demos=demos.digest,
        encoder=encoder.encoder.digest,
        simulator=simulator_versions(group.task, work.config.render),
    )
    features = features_of(work, group, encoder, demos)
    encoded = encoder.num_encoded
    summary.frames_encoded += encoded
    summary.frames_cached += sum(len(demo.actions) for demo in demos.demos.values()) - encoded
    trained = train(plan, work, group, demos, features)
    timing = {"prepare_and_train_s": time.monotonic() - started, "frames_encoded": float(encoded)}
    summary.failed |= {cell.slug: head.failure for cell, head in trained.items() if head.failure is not None}
    recorder = Recorder(work, group, encoder, encoder_facts(encoder), digests, trained, timing)
    try:
        evaluate_group(plan, work, group, pool, states, recorder)
    finally:
        summary.num_recorded += recorder.num_written
        summary.failed |= recorder.given_up


def _tile_encoder(plan: Plan, work: Workplace, group: CellGroup) -> TileEncoder:
    raw = any(plan.readouts[cell.readout].raw_grid for cell in group.cells)
    engine, encoder = work.config.engine, load_encoder(group.encoder)
    return TileEncoder(encoder, work.device, engine.tile, keep_raw=raw, precision=engine.precision)
