"""Body of `pvrbench imagine`: models of what actions do to frozen features, and planning with them."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from pvrbench.benchmark.commands.verb import RunSettings, Verb
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.imagination.plan import make_imagination_plan

IMAGINE_HELP = """\
Settings are given as key=value, as for `pvrbench run`, and go into the same configuration; those of its own are in the
group `imagination`.

  pvrbench imagine 'encoders=[zoo_mae,zoo_dift]' 'tasks=[metaworld/reach-v3]' image_px=112 name=reach
  pvrbench imagine 'encoders=[zoo_mae]' 'tasks=[metaworld/push-v3]' imagination.goal_steps=30 'seeds=[0,1]' name=push
  pvrbench imagine 'encoders=[zoo_mae]' 'tasks=[metaworld/reach-v3]' imagination.num_pairs=0 name=errors

Features are shared with `pvrbench run` and `pvrbench probe` where the pictures are the same."""


def imagine(settings: RunSettings) -> int:
    """Makes the imaginations that are not recorded yet, then reports."""
    config = compose_config(settings.overrides)
    plan = make_imagination_plan(config)
    console = Console()
    jobs = plan.jobs
    console.print(
        f"{len(jobs)} imaginations: {len({item.key.task for item in jobs})} tasks, "
        f"{len({item.key.encoder for item in jobs})} encoders, {len({item.key.seed for item in jobs})} seeds; "
        f"{config.image_px} px, {config.render} rendering.",
        highlight=False,
    )
    for note in plan.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    from pvrbench.benchmark.commands.display import ProgressDisplay
    from pvrbench.benchmark.engine.imagining import run_imaginations

    run_dir = imagination_dir(config)
    with ProgressDisplay(console, len(jobs)) as display:
        result = run_imaginations(plan, run_dir, display)
    console.print(
        f"{result.num_recorded} imaginations recorded, {result.num_skipped} were there already.", highlight=False
    )
    if result.num_recorded + result.num_skipped:
        from pvrbench.benchmark.reporting.imagination_report import write_imagination_report

        write_imagination_report(run_dir, run_dir / "report")
        console.print(f"Tables and pictures: {run_dir / 'report' / 'imagination.html'}", highlight=False)
    for name, reason in result.errors.items():
        sys.stderr.write(f"error: {name}: {reason}\n")
    if result.errors:
        sys.stderr.write(f"Tracebacks are in {run_dir / 'errors'}; the same command tries these again.\n")
    return 1 if result.errors else 0


def imagination_dir(config: BenchmarkConfig) -> Path:
    """Where imaginations are written: `run_dir`, or `results/imaginations/<name>`."""
    return config.output_dir if config.run_dir is not None else Path("results/imaginations") / config.output_dir.name


IMAGINE = Verb(
    name="imagine",
    summary="Train models of the future on frozen features, measure their error and plan with them.",
    settings=RunSettings,
    body=imagine,
    details=IMAGINE_HELP,
)
