"""Bodies of `pvrbench run | plan | evaluate | status`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console
from rich.table import Table

from pvrbench.benchmark.commands.forecasts import (
    forecast_here,
    forecast_text,
    forecast_there,
    is_remote,
    learn_from,
    memory_here,
)
from pvrbench.benchmark.commands.results import show_report
from pvrbench.benchmark.commands.verb import RunSettings, UserPath, Verb, VerbSettings, print_json, terminal
from pvrbench.benchmark.composition import compose_config, compose_evaluation
from pvrbench.benchmark.config import read_config
from pvrbench.benchmark.engine.executors.script import array_script
from pvrbench.benchmark.engine.forecast import check_training_memory
from pvrbench.benchmark.engine.hardware import available_mib, check_engine
from pvrbench.benchmark.plan import Plan, make_plan
from pvrbench.benchmark.records.keys import NOMINAL, digest_of
from pvrbench.benchmark.records.state import states_of
from pvrbench.benchmark.records.store import RecordStore

if TYPE_CHECKING:
    from pvrbench.benchmark.engine.result import JobResult

RUN_HELP = """\
Settings are given as key=value and override the preset's; lists are written [a,b,c]. Values are taken as written.

  pvrbench run preset=quickstart
  pvrbench run preset=quickstart 'tasks=[metaworld/assembly-v3]' 'encoders=[pixels_14,oracle,proprio]' \\
      'num_demos=[5,10,25]' 'seeds=[0,1,2]' num_episodes=50 name=assembly
  pvrbench run 'encoders=[my_package.module:MyEncoder]' train.num_updates=5000
  pvrbench run 'encoders=[timm:vit_small_patch16_224.dino,file:/path/mine.pth?model=vit_tiny_patch16_224]'

Names: `pvrbench list encoders|tasks|heads|readouts|presets`.
A run that was interrupted goes on where it stopped when the same command is given again."""


class PlanSettings(RunSettings):
    """Settings of `pvrbench plan`."""

    as_json: bool = False
    """Print JSON for a program to read."""
    as_slurm: bool = False
    """Print a Slurm script that runs it without submitit."""


class StatusSettings(VerbSettings):
    """Settings of `pvrbench status`."""

    subjects: ClassVar[tuple[str, ...]] = ("run_dir",)

    run_dir: UserPath
    """Folder of the run."""
    as_json: bool = False
    """Print JSON for a program to read."""


class EvaluateSettings(RunSettings):
    """Settings of `pvrbench evaluate`."""

    subjects: ClassVar[tuple[str, ...]] = ("run_dir",)

    run_dir: UserPath
    """Folder of the run whose policies are tried."""


def run(settings: RunSettings) -> int:
    """Runs what is not recorded yet, then reports."""
    config = compose_config(settings.overrides)
    if not is_remote(config):
        check_engine(config.engine, config.image_px)
    plan = make_plan(config)
    console = terminal()
    show_plan(console, plan)
    from pvrbench.benchmark.commands.display import ProgressDisplay
    from pvrbench.benchmark.engine.runner import run_plan

    run_dir = config.output_dir
    started = time.monotonic()
    with ProgressDisplay(console, len(plan.cells)) as display:
        result = run_plan(plan, run_dir, display)
    is_fixed = config.episode_schedule == "fixed"
    if is_fixed and result.num_recorded == len(plan.cells) and result.frames_cached == 0 and not result.errors:
        # Only a whole run from nothing says how good the forecast was.
        console.print(learn_from(plan, time.monotonic() - started, result.node_seconds))
    return show_result(console, result, run_dir)


def evaluate(settings: EvaluateSettings) -> int:
    """Tries the stored policies of a run elsewhere; nothing is trained."""
    from pvrbench.benchmark.commands.display import ProgressDisplay
    from pvrbench.benchmark.engine.runner import run_plan

    trained_dir = settings.run_dir
    trained = read_config(trained_dir)
    config = compose_evaluation(trained, settings.overrides)
    plan = make_plan(config, trained)
    if config.run_dir is None:
        name = config.name or digest_of([cell.model_dump(mode="json") for cell in plan.cells])[:12]
        config = config.model_copy(update={"run_dir": str(trained_dir / "evaluations" / name)})
        plan = make_plan(config, trained)
    console = terminal()
    show_plan(console, plan)
    run_dir = config.output_dir
    with ProgressDisplay(console, len(plan.cells)) as display:
        result = run_plan(plan, run_dir, display, trained_dir)
    return show_result(console, result, run_dir)


def show_result(console: Console, result: JobResult, run_dir: Path) -> int:
    """Prints what was done and the report of what is recorded; returns the exit status."""
    stored = f" {result.policies_loaded} policies were stored already." if result.policies_loaded else ""
    console.print(
        f"{result.num_recorded} cells recorded, {result.num_skipped} were there already.{stored} "
        f"Demonstration frames: {result.frames_encoded} encoded, {result.frames_cached} from the cache.",
    )
    if RecordStore(run_dir).exists:
        show_report(console, [run_dir], run_dir / "report")
    for name, reason in result.errors.items():
        sys.stderr.write(f"error: {name}: {reason}\n")
    for name, reason in result.failed.items():
        sys.stderr.write(f"error: {name} is recorded as failed: {reason}\n")
    if result.failed:
        sys.stderr.write("After mending the cause, the same command with engine.retry_failed=true runs these again.\n")
    if result.errors:
        sys.stderr.write(f"Tracebacks are in {run_dir / 'errors'}; the same command tries these again.\n")
    return 1 if result.errors or result.failed else 0


def show_plan(console: Console, plan: Plan) -> None:
    """Prints a plan in a few lines."""
    config = plan.config
    console.print(
        f"{len(plan.cells)} cells: {len({job.task.name for job in plan.jobs})} tasks, "
        f"{len({job.encoder.name for job in plan.jobs})} encoders, N in {sorted(set(config.num_demos))}, "
        f"{len(set(config.seeds))} seeds, {'' if config.episode_schedule == 'fixed' else 'at most '}"
        f"{config.num_episodes} episodes each "
        f"({len(plan.cells) * config.num_episodes} episodes); "
        f"{config.image_px} px, {config.render} rendering, {config.split} states.",
    )
    console.print(forecast_text(plan))
    for note in plan.notes:
        console.print(f"note: {note}")


def plan(settings: PlanSettings) -> int:
    """Shows what a run would do."""
    config = compose_config(settings.overrides)
    is_here = not (settings.as_slurm or is_remote(config))
    if is_here:
        check_engine(config.engine, config.image_px)
    made = make_plan(config)
    if settings.as_slurm:
        sys.stdout.write(array_script(made, settings.overrides, Path.cwd()))
        return 0
    if is_here:
        check_training_memory(made, available_mib())
    if settings.as_json:
        print_json(
            {
                "config": made.config.model_dump(mode="json"),
                "notes": made.notes,
                "forecast": asdict(forecast_here(made)) | {"memory_bytes": memory_here(made)},
                "jobs_forecast": asdict(forecast_there(made)),
                "cells": [cell.flat for cell in made.cells],
            }
        )
        return 0
    console = terminal()
    show_plan(console, made)
    table = Table(box=None)
    for name in ("task", "camera", "encoder", "readouts", "cells"):
        table.add_column(name, overflow="fold")
    for job in made.jobs:
        names = ", ".join(dict.fromkeys(cell.readout for cell in job.cells))
        place = job.cells[0].evaluation
        where = place.camera if place.look == NOMINAL else f"{place.camera}, {place.look}"
        where += f", {place.instruction!r}" if place.instruction else ""
        table.add_row(job.task.name, where, job.encoder.name, names, str(len(job.cells)))
    console.print(table)
    console.print(f"Would be written to {made.config.output_dir}.")
    return 0


def status(settings: StatusSettings) -> int:
    """Says what is done, under way, failed and missing."""
    plan = make_plan(read_config(settings.run_dir))
    states = states_of(settings.run_dir, [(job.name, job.cells) for job in plan.jobs])
    if settings.as_json:
        print_json([asdict(state) for state in states])
        return 0
    console = terminal()
    counts = Counter(state.state for state in states)
    cells, recorded = (sum(getattr(state, name) for state in states) for name in ("num_cells", "num_recorded"))
    failed, unfinished = (sum(getattr(state, name) for state in states) for name in ("num_failed", "num_unfinished"))
    console.print(
        f"{recorded} of {cells} cells recorded{f', {failed} of them without a policy' if failed else ''}"
        f"{f', {unfinished} with some of their rounds' if unfinished else ''}. Jobs: "
        f"{', '.join(f'{number} {state}' for state, number in counts.items())}."
    )
    table = Table(box=None)
    for name in ("job", "cells", "state", ""):
        table.add_column(name, overflow="fold")
    for state in states:
        table.add_row(state.name, f"{state.num_recorded}/{state.num_cells}", state.state, state.words)
    console.print(table)
    return 0


RUN = Verb(name="run", summary="Run a benchmark and report it.", settings=RunSettings, body=run, details=RUN_HELP)
PLAN = Verb(
    name="plan",
    summary="Check a benchmark and show what it would do.",
    settings=PlanSettings,
    body=plan,
    details=RUN_HELP,
)
STATUS = Verb(
    name="status",
    summary="Say how far a run is, from its folder alone.",
    settings=StatusSettings,
    body=status,
    details="  pvrbench status results/runs/first",
)
EVALUATE = Verb(
    name="evaluate",
    summary="Try the stored policies of a run elsewhere, without training.",
    settings=EvaluateSettings,
    body=evaluate,
    details="""\
  pvrbench evaluate results/runs/first num_episodes=100 name=more
  pvrbench evaluate results/runs/first 'cameras=[corner]' 'looks=[nominal,light/darker@2]' name=shifted""",
)
