"""Bodies of `pvrbench run | plan`."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pvrbench.benchmark.commands.results import show_report
from pvrbench.benchmark.commands.verb import AddVerb, print_json
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.forecast import Forecast, duration, forecast, learn, learned_factor
from pvrbench.benchmark.engine.machine import cache_root, num_cores
from pvrbench.benchmark.plan import Plan, make_plan

RUN_HELP = """\
Settings are given as key=value and override the preset's; lists are written [a,b,c].

  pvrbench run preset=quickstart
  pvrbench run preset=quickstart tasks=[metaworld/assembly-v3] encoders=[pixels_14,oracle,proprio] \\
      num_demos=[5,10,25] seeds=[0,1,2] num_episodes=50 name=assembly
  pvrbench run encoders=[my_package.module:MyEncoder] train.num_updates=5000
  pvrbench run encoders=[timm:vit_small_patch16_224.dino,file:/path/mine.pth?model=vit_tiny_patch16_224]

All keys with their defaults: benchmark/conf/config.yaml. Names: `pvrbench list encoders|tasks|heads|readouts|presets`.
A run that was interrupted goes on where it stopped when the same command is given again."""


def add_run(verb: AddVerb) -> None:
    """Adds the verbs."""
    command = verb("run", "Run a benchmark and report it.", run, epilog=RUN_HELP)
    command.add_argument("overrides", nargs="*", metavar="key=value")
    command = verb("plan", "Check a benchmark and show what it would do.", plan, epilog=RUN_HELP)
    command.add_argument("overrides", nargs="*", metavar="key=value")
    command.add_argument("--json", action="store_true", help="print JSON for a program to read")


def run_dir_of(config: BenchmarkConfig) -> Path:
    """Where the run of a configuration is written."""
    if config.run_dir is not None:
        return Path(config.run_dir).expanduser()
    return Path("results") / "runs" / (config.name or config.preset)


def run(options: Namespace) -> int:
    """Runs what is not recorded yet, then reports."""
    config: BenchmarkConfig = options.config
    plan = make_plan(config)
    console = Console(stderr=False)
    show_plan(console, plan)
    from pvrbench.benchmark.commands.display import ProgressDisplay
    from pvrbench.benchmark.engine.runner import run_plan

    run_dir = run_dir_of(config)
    started = time.monotonic()
    with ProgressDisplay(console, len(plan.cells)) as display:
        summary = run_plan(plan, run_dir, display)
    seconds = time.monotonic() - started
    console.print(
        f"{summary.num_recorded} cells recorded, {summary.num_skipped} were there already. "
        f"Demonstration frames: {summary.frames_encoded} encoded, {summary.frames_cached} from the cache.",
        highlight=False,
    )
    if summary.num_skipped == 0 and summary.frames_cached == 0 and not summary.errors:
        # Only a whole run from nothing says how good the forecast was.
        expected = _forecast(plan)
        console.print(f"Took {duration(seconds)}; {duration(expected.seconds)} were forecast.", highlight=False)
        learn(cache_root(config.engine.cache_dir), expected, seconds)
    if summary.num_recorded + summary.num_skipped:
        show_report(console, [run_dir], run_dir / "report")
    for name, reason in summary.errors.items():
        sys.stderr.write(f"error: {name}: {reason}\n")
    for name, reason in summary.failed.items():
        sys.stderr.write(f"error: {name} is recorded as failed: {reason}\n")
    if summary.failed:
        sys.stderr.write("Records are not overwritten: after mending the cause, run with another name=...\n")
    if summary.errors:
        sys.stderr.write(f"Tracebacks are in {run_dir / 'errors'}; the same command tries these again.\n")
    return 1 if summary.errors or summary.failed else 0


def show_plan(console: Console, plan: Plan) -> None:
    """Prints a plan in a few lines."""
    config = plan.config
    console.print(
        f"{len(plan.cells)} cells: {len({group.task.name for group in plan.groups})} tasks, "
        f"{len({group.encoder.name for group in plan.groups})} encoders, N in {list(config.num_demos)}, "
        f"{len(config.seeds)} seeds, {config.num_episodes} episodes each "
        f"({len(plan.cells) * config.num_episodes} episodes); "
        f"{config.image_px} px, {config.render} rendering, {config.split} states.",
        highlight=False,
    )
    expected = _forecast(plan)
    console.print(
        f"Forecast on {num_cores()} cores, nothing cached: {duration(expected.seconds)} "
        f"(at most {duration(expected.most_seconds)}), {expected.rollout_frames:,} rollout frames, "
        f"{expected.disk_bytes / 2**30:.1f} GiB of cache.",
        highlight=False,
    )
    for note in plan.notes:
        console.print(f"note: {note}", highlight=False)


def _forecast(plan: Plan) -> Forecast:
    return forecast(plan, num_cores(), learned_factor(cache_root(plan.config.engine.cache_dir)))


def plan(options: Namespace) -> int:
    """Shows what a run would do."""
    made = make_plan(options.config)
    if options.json:
        print_json(
            {
                "config": made.config.model_dump(mode="json"),
                "notes": made.notes,
                "forecast": asdict(_forecast(made)),
                "cells": [cell.model_dump() for cell in made.cells],
            }
        )
        return 0
    console = Console()
    show_plan(console, made)
    table = Table("task", "camera", "encoder", "readouts", "cells", box=None)
    for group in made.groups:
        names = ", ".join(dict.fromkeys(cell.readout for cell in group.cells))
        table.add_row(group.task.name, group.camera, group.encoder.name, names, str(len(group.cells)))
    console.print(table)
    console.print(f"Would be written to {run_dir_of(made.config)}.", highlight=False)
    return 0
