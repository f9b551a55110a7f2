"""Body of `pvrbench probe`: what can be said of encoders without training policies."""

from __future__ import annotations

import sys
from pathlib import Path

from pvrbench.benchmark.commands.verb import RunSettings, Verb, terminal
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.probe_plan import make_probe_plan

PROBE_HELP = """\
Settings are given as key=value, as for `pvrbench run`, and go into the same configuration.

  pvrbench probe preset=quickstart
  pvrbench probe 'encoders=[zoo_mae,zoo_dift]' 'tasks=[robosuite/lift]' 'probes=[state_regression]' name=lift
  pvrbench probe 'encoders=[my_package.module:MyEncoder]' probe_options.state_regression.stride=10

`pvrbench list probes` shows all probes and their options. Features are shared with `pvrbench run`."""


def probe(settings: RunSettings) -> int:
    """Makes the probes that are not recorded yet, then reports."""
    config = compose_config(settings.overrides)
    plan = make_probe_plan(config)
    console = terminal()
    jobs = plan.jobs
    console.print(
        f"{len(jobs)} probes: {len({item.key.task for item in jobs})} tasks, "
        f"{len({item.key.encoder for item in jobs})} encoders; {config.image_px} px, {config.render} rendering, "
        f"{config.demo_pool} demonstrations of each task.",
    )
    for note in plan.notes:
        console.print(f"note: {note}")
    from pvrbench.benchmark.commands.display import ProgressDisplay
    from pvrbench.benchmark.engine.probing import run_probes

    run_dir = probe_dir(config)
    with ProgressDisplay(console, len(jobs)) as display:
        result = run_probes(plan, run_dir, display)
    console.print(f"{result.num_recorded} probes recorded, {result.num_skipped} were there already.")
    if result.num_recorded + result.num_skipped:
        from pvrbench.benchmark.reporting.probe_report import write_probe_report

        write_probe_report(run_dir, run_dir / "report")
        console.print(f"Tables and pictures: {run_dir / 'report' / 'probes.html'}")
    for name, reason in result.errors.items():
        sys.stderr.write(f"error: {name}: {reason}\n")
    if result.errors:
        sys.stderr.write(f"Tracebacks are in {run_dir / 'errors'}; the same command tries these again.\n")
    return 1 if result.errors else 0


def probe_dir(config: BenchmarkConfig) -> Path:
    """Where probes are written: `run_dir`, or `results/probes/<name>`."""
    return config.output_dir if config.run_dir is not None else Path("results/probes") / config.output_dir.name


PROBE = Verb(
    name="probe",
    summary="Probe encoders without training policies, and report it.",
    settings=RunSettings,
    body=probe,
    details=PROBE_HELP,
)
