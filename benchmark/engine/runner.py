"""Runs a plan: checks what is recorded, then hands the jobs that are left to the executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch

from pvrbench.benchmark.analysis.comparison import protocol_facts
from pvrbench.benchmark.catalog import executors, schedules
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.context import RunContext, load_task, open_context
from pvrbench.benchmark.engine.executors.base import Executor, RunSite
from pvrbench.benchmark.engine.forecast import check_training_memory
from pvrbench.benchmark.engine.hardware import available_mib, cache_root, check_engine, num_cores, sized
from pvrbench.benchmark.engine.identity import check_inputs, check_policies, demonstrations_of
from pvrbench.benchmark.engine.job import run_job
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.engine.look_pictures import PICTURES_NAME, copy_picture
from pvrbench.benchmark.engine.provenance import own_commit
from pvrbench.benchmark.engine.result import JobResult, summed
from pvrbench.benchmark.engine.rounds import check_family, run_rounds
from pvrbench.benchmark.engine.training import demo_frames, demo_indices
from pvrbench.benchmark.plan import Job, Plan
from pvrbench.benchmark.records.keys import NOMINAL, Cell, TrainKey
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordError, RecordStore, sole_writer
from pvrbench.common.files import write_atomically
from pvrbench.common.reference import resolve


def fit_to_machine(config: BenchmarkConfig) -> BenchmarkConfig:
    """The configuration with what is automatic in its engine resolved on this machine.

    Raises:
        ConfigError: the device is not there, or more is asked for than the machine holds.
    """
    engine = config.engine
    device = engine.device if engine.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    check_engine(engine, config.image_px)
    return config.model_copy(update={"engine": sized(engine, device, num_cores(), available_mib())})


def recorded_cells(plan: Plan, store: RecordStore) -> tuple[dict[Cell, CellRecord], list[CellRecord]]:
    """The records of the plan's cells, and all records of the folder: those are reported together.

    Raises:
        RecordError: a record of the folder is not sound, or is of another protocol than the plan's.
    """
    records, refusals = store.read()
    broken = {refusal.path: refusal.reason for refusal in refusals}
    planned = {cell: job.settings[cell.head] for job in plan.jobs for cell in job.cells}
    for cell in planned:
        if (path := store.path_of(cell)) in broken:
            raise RecordError(f"{path} is not a sound record: it {broken[path]}. Move it away to run its cell again.")
    here: dict[str, str] = {}
    for cell, settings in planned.items():
        here |= protocol_facts(settings, cell)
    for record in records:
        there = protocol_facts(record.settings, record.cell)
        differing = [
            f"{key} ({there[key]} there, {here[key]} here)" for key in there if here.get(key, there[key]) != there[key]
        ]
        if differing:
            raise RecordError(
                f"{store.run_dir} holds results under another protocol: {', '.join(differing)}. "
                "Give this run a name of its own with name=..."
            )
    return {record.cell: record for record in records if record.cell in planned}, records


def to_retry(config: BenchmarkConfig, recorded: Mapping[Cell, CellRecord]) -> list[Cell]:
    """The cells that are recorded as failed and shall run again."""
    return [cell for cell, record in recorded.items() if config.engine.retry_failed and record.has_failed]


def take_over_records(plan: Plan, trained_dir: Path, store: RecordStore) -> None:
    """Takes over what the run of the policies recorded of the cells beside changed looks.

    The nominal rows were evaluated there on the same states already. Where no look is changed nothing is taken over:
    who evaluates the same cells anew wants them anew.

    Args:
        plan: the evaluation.
        trained_dir: the run of the policies.
        store: takes the records.

    Raises:
        RecordError: they cannot be written.
    """
    if all(cell.look == NOMINAL for cell in plan.cells):
        return
    planned = {cell: job.settings[cell.head] for job in plan.jobs for cell in job.cells}
    there = {record.cell: record for record in store.read()[0]}
    for record in RecordStore(trained_dir).read()[0]:
        cell = record.cell
        is_wanted = cell in planned and cell not in there and not record.has_failed
        if is_wanted and protocol_facts(record.settings, cell) == protocol_facts(planned[cell], cell):
            store.write(record)
            copy_picture(trained_dir / PICTURES_NAME, store.run_dir / PICTURES_NAME, cell.evaluation)


def run_plan(plan: Plan, run_dir: Path, listener: Listener, policy_dir: Path | None = None) -> JobResult:
    """Runs what is not recorded yet.

    A job that fails is reported and recorded in `run_dir/errors`; the others go on.

    Args:
        plan: what to run.
        run_dir: the run's folder.
        listener: hears of progress.
        policy_dir: the run whose stored policies are evaluated; None trains.

    Raises:
        RecordError: the folder cannot be written, holds results of another protocol, or of inputs that have changed.
        WeightsError: an encoder's weights cannot be had.
    """
    spec, spans_run = executors()[plan.config.engine.executor], schedules()[plan.config.episode_schedule].spans_run
    if spec.is_remote:
        # Workers fit the configuration to their machines. This one compares inputs on what it has.
        here = plan.config.engine.model_copy(update={"device": "auto", "num_workers": 0, "envs_per_worker": 0})
        config = fit_to_machine(plan.config.model_copy(update={"engine": here}))
    else:
        config = fit_to_machine(plan.config)
        engine = config.engine
        check_training_memory(plan, available_mib())
        listener.say(
            f"Engine: {engine.num_workers} simulator processes of {engine.envs_per_worker} environments, "
            f"{engine.tile} frames an encoder call, {engine.precision} on {engine.device} (engine.* sets them)."
        )
    store = RecordStore(run_dir)
    if policy_dir is not None:
        with sole_writer(run_dir):
            take_over_records(plan, policy_dir, store)
    recorded, records = recorded_cells(plan, store)
    again = to_retry(plan.config, recorded)
    recorded = {cell: record for cell, record in recorded.items() if cell not in again}
    records = [record for record in records if record.cell not in again]
    site = RunSite(plan.config, run_dir.absolute(), None if policy_dir is None else policy_dir.absolute())
    executor = cast("Callable[[RunSite], Executor]", resolve(spec.entry_point))(site)
    with _context(site, config, listener) as context:
        left = [
            job.only(pending) for job in plan.jobs if (pending := [cell for cell in job.cells if cell not in recorded])
        ]
        context.encoders.check_weights({job.encoder.name: job.encoder for job in left}.values())
        fitted = [job.fitted(config) for job in plan.jobs]
        parts = context.parts.read() if spans_run else {}
        if again and spans_run:
            check_family(plan, recorded, parts, run_dir)
        check_inputs(fitted, [*records, *(found[0] for found in parts.values())], context)
        check_policies(fitted, {} if policy_dir is None else trained_records(policy_dir), context)

        def do(jobs: Sequence[Job]) -> JobResult:
            return summed(executor.run(jobs, lambda job: run_job(job.fitted(config), context), listener))

        with sole_writer(run_dir):
            for cell in again:
                store.set_aside(cell)
            written = plan.config if spec.is_remote else config
            write_atomically(run_dir / "config.json", written.model_dump_json(indent=1) + "\n")
            own_commit()  # of what runs, whatever is checked out meanwhile
            listener.finished(len(recorded))
            done = run_rounds(plan, left, context, do) if spans_run else do(left)
        return done + JobResult(num_skipped=len(recorded))


def run_jobs(site: RunSite, jobs: Sequence[Job], listener: Listener) -> JobResult:
    """Does jobs of a run in a process or on a machine of their own: what a worker of an executor calls.

    Args:
        site: the run, whose folder this machine must see.
        jobs: the jobs.
        listener: hears of progress.
    """
    config = fit_to_machine(site.config)
    with _context(site, config, listener) as context:
        return summed(run_job(job.fitted(config), context) for job in jobs)


def prepare(site: RunSite, jobs: Sequence[Job], listener: Listener, *, frames: bool = True) -> None:
    """Makes once what several jobs need: demonstrations and their pictures, in the cache of this machine.

    Args:
        site: the run.
        jobs: the jobs.
        listener: hears of progress.
        frames: whether pictures are made too.
    """
    config = fit_to_machine(site.config)
    done: set[tuple[object, ...]] = set()
    with _context(site, config, listener) as context:
        for job in jobs:
            key = (job.task.name, job.demo_view)
            if key in done:
                continue
            done.add(key)
            demos = demonstrations_of(job, context, load_task(job.task))
            if frames and job.demo_view is not None:
                demo_frames(demo_indices(job, demos), job, job.demo_view, context, demos)


def _context(site: RunSite, config: BenchmarkConfig, listener: Listener) -> RunContext:
    trained = {} if site.policy_dir is None else trained_records(site.policy_dir)
    cache_dir = cache_root(config.engine.cache_dir)
    return open_context(config, site.run_dir, cache_dir, listener, site.policy_dir or site.run_dir, trained)


def trained_records(run_dir: Path) -> dict[TrainKey, CellRecord]:
    """One record of each policy of a run that was trained and stored."""
    return {record.cell.train: record for record in RecordStore(run_dir).read()[0] if record.digests.policy}
