"""Bodies of the verbs: each takes the parsed arguments and returns the exit status."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.composition import compose_config, preset_names
from benchmark.config import BenchmarkConfig
from benchmark.forecast import Forecast, duration, forecast, learn, learned_factor
from benchmark.machine import cache_root, num_cores
from benchmark.plan import Plan, make_plan
from benchmark.registry import encoders, heads, readouts, tasks
from benchmark.weights_commands import WEIGHTS_HELP, weights_command


@runtime_checkable
class AddVerb(Protocol):
    """Adds a verb to the command line."""

    def __call__(self, name: str, help_text: str, body: object, *, epilog: str | None = None) -> ArgumentParser:
        """Returns the verb's parser, to which arguments are added."""
        ...


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


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
    from benchmark.display import ProgressDisplay
    from benchmark.runner import run_plan

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
        write_and_show_report(console, [run_dir], run_dir / "report")
    for name, reason in summary.errors.items():
        sys.stderr.write(f"error: {name}: {reason}\n")
    for name, reason in summary.failed.items():
        sys.stderr.write(f"error: {name} is recorded as failed: {reason}\n")
    if summary.failed:
        sys.stderr.write("Records are not overwritten: after mending the cause, run with another name=...\n")
    if summary.errors:
        sys.stderr.write(f"Tracebacks are in {run_dir / 'errors'}; the same command tries these again.\n")
    return 1 if summary.errors or summary.failed else 0


def write_and_show_report(console: Console, run_dirs: Sequence[Path], output_dir: Path) -> None:
    """Writes figures, tables and page, and prints the ranking."""
    from benchmark.report import write_report

    report = write_report(run_dirs, output_dir)
    console.print(report.table)
    console.print(f"Figures, tables and page: {output_dir}", highlight=False)


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


def report(options: Namespace) -> int:
    """Reports one or more runs."""
    run_dirs = [Path(text) for text in options.run_dirs]
    for run_dir in run_dirs:
        if not (run_dir / "records").is_dir():
            raise ValueError(f"{run_dir} holds no records. Give the folder of a run, such as results/runs/quickstart.")
    output = Path(options.output) if options.output else run_dirs[0] / "report"
    if options.json:
        from benchmark.report import write_report

        print_json(write_report(run_dirs, output).summary)
        return 0
    write_and_show_report(Console(), run_dirs, output)
    return 0


def list_names(options: Namespace) -> int:
    """Lists a catalog."""
    if options.kind == "presets":
        configs = {name: compose_config([f"preset={name}"]) for name in preset_names()}
        rows: dict[str, dict[str, object]] = {
            name: config.model_dump(mode="json", exclude={"name", "run_dir", "engine"})
            for name, config in configs.items()
        }
    else:
        catalogs: dict[str, Mapping[str, object]] = {
            "encoders": encoders(),
            "tasks": tasks(),
            "heads": heads(),
            "readouts": readouts(),
        }
        rows = {name: asdict(spec) for name, spec in catalogs[options.kind].items()}  # pyright: ignore[reportArgumentType]
    if options.json:
        print_json(rows)
        return 0
    columns = {
        "encoders": ("objective", "image_size", "num_params", "licence"),
        "tasks": ("description", "horizon", "cameras"),
        "heads": ("description",),
        "readouts": ("description",),
        "presets": ("tasks", "heads", "num_demos", "num_episodes"),
    }[options.kind]
    table = Table(options.kind, *columns, box=None)
    for name, row in rows.items():
        table.add_row(name, *(_cell_text(row.get(column)) for column in columns))
    Console().print(table, highlight=False)
    return 0


def _cell_text(value: object) -> str:
    if isinstance(value, tuple | list):
        return " ".join(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return f"{value / 1e6:.1f}M" if isinstance(value, int) and value > 10_000 else str(value)


def doctor(options: Namespace) -> int:
    """Checks the machine."""
    from benchmark.doctor import examine, render_findings

    findings = examine()
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        Console().print(render_findings(findings), highlight=False)
    return 0 if all(finding.ok for finding in findings) else 1


def add_tools(verb: AddVerb) -> ArgumentParser:
    """Adds the verbs that work on demonstrations, weights, caches and single parts; returns that of the weights."""
    check = verb("check-encoder", "Check an encoder against the contract, point by point.", check_encoder_command)
    check.add_argument("encoder", help="catalog name, module:attribute or checkpoint URI")
    check.add_argument("--device", default="cpu", help="where it runs: cpu, cuda, cuda:1; default cpu")
    check = verb("check-task", "Check a task: determinism, expert, demonstrations, splits.", check_task_command)
    check.add_argument("task", help="catalog name")
    demos = verb("demos", "Collect, verify or describe demonstrations.", demos_command)
    demos.add_argument("action", choices=["collect", "verify", "info", "export", "import"])
    demos.add_argument("task", help="catalog name")
    demos.add_argument("--num", type=int, default=50, help="demonstrations wanted in all (collect, import); default 50")
    demos.add_argument("--noise", type=float, help="noise of executed actions (collect); default the task's own")
    demos.add_argument("--file", help="robomimic file to write (export) or read (import)")
    weights = verb("weights", WEIGHTS_HELP.splitlines()[0], weights_command, epilog=WEIGHTS_HELP)
    weights.add_argument("action", choices=["list", "fetch", "import", "verify"])
    weights.add_argument("names", nargs="*", metavar="ENCODER", help="catalog names; for import one name and a FILE")
    cache = verb("cache", "Show, check or empty the feature cache.", cache_command)
    cache.add_argument("action", choices=["info", "verify", "clear"])
    return weights


def check_encoder_command(options: Namespace) -> int:
    """Checks one encoder."""
    from benchmark.workplace import load_encoder
    from encoders.checks import TILE, check_encoder
    from encoders.cost import flops_per_frame, measure, num_params

    encoder = load_encoder(encoders()[options.encoder]).to(options.device)
    if encoder.spec.modality != "image":
        raise ValueError(f"Encoder {encoder.spec.name!r} reads no images; there is nothing to check.")
    status = _show_verdicts([(verdict.name, verdict.problem) for verdict in check_encoder(encoder)])
    if status == 0:
        cost, flops = measure(encoder, TILE), flops_per_frame(encoder) or 0
        if cost is not None:
            sys.stdout.write(
                f"{num_params(encoder) / 1e6:.2f} million parameters, {flops / 1e9:.2f} GFLOP for a frame; on "
                f"{options.device} {cost.ms_alone:.1f} ms for a frame alone, {cost.ms_in_tile:.1f} ms in a tile of "
                f"{TILE}, {cost.peak_bytes / 2**20:.0f} MiB at most\n"
            )
    return status


def check_task_command(options: Namespace) -> int:
    """Checks one task."""
    from benchmark.workplace import load_task
    from envs.checks import check_task

    verdicts = check_task(load_task(tasks()[options.task]))
    return _show_verdicts([(verdict.name, verdict.problem) for verdict in verdicts])


def _show_verdicts(verdicts: Sequence[tuple[str, str]]) -> int:
    table = Table("", "promise", "found", box=None)
    for name, problem in verdicts:
        table.add_row("[red]BROKEN[/red]" if problem else "[green]kept[/green]", name, escape(problem))
    Console().print(table, highlight=False)
    return 1 if any(problem for _, problem in verdicts) else 0


def demos_command(options: Namespace) -> int:
    """Collects, verifies or describes the demonstrations of a task."""
    from benchmark.training import demo_path
    from benchmark.workplace import load_task
    from envs.demos import DemoFile, collect_demos, verify_demos
    from envs.robomimic_file import export_demos, import_demos

    task = load_task(tasks()[options.task])
    path = demo_path(cache_root(None), task.spec)
    if options.action in ("export", "import") and not options.file:
        raise ValueError(f"`pvrbench demos {options.action}` needs --file FILE.")
    match options.action:
        case "collect":
            noise = task.spec.demo_noise if options.noise is None else options.noise
            collect_demos(task, options.num, path, action_noise=noise)
        case "import":
            import_demos(task, Path(options.file), path, options.num)
        case "export":
            export_demos(task, DemoFile(path, task.spec), Path(options.file))
            sys.stdout.write(f"{options.file} written\n")
        case "verify":
            complaints = verify_demos(task, DemoFile(path, task.spec))
            sys.stdout.write("".join(f"{line}\n" for line in complaints) or "every demonstration replays to success\n")
            return 1 if complaints else 0
        case _:
            pass
    file = DemoFile(path)
    lengths = [len(file.demo(index).actions) for index in range(len(file))]
    steps = f"{sum(lengths)} steps, {min(lengths)} to {max(lengths)} each" if lengths else "no steps"
    sys.stdout.write(f"{path}: {len(file)} demonstrations, {steps}, content {file.digest_of(len(file))[:16]}\n")
    return 0


def cache_command(options: Namespace) -> int:
    """Shows, verifies or clears the feature cache."""
    from benchmark.cache import FeatureCache

    config = compose_config([])
    cache = FeatureCache(cache_root(config.engine.cache_dir) / "features", int(config.engine.cache_gib * 2**30))
    match options.action:
        case "info":
            info = cache.info()
            text = f"{info.num_entries} entries, {info.size_bytes / 2**20:.1f} of {info.limit_bytes / 2**20:.0f} MiB"
            sys.stdout.write(f"{info.path}: {text}\n")
            return 0
        case "verify":
            damaged = cache.verify()
            sys.stdout.write("".join(f"damaged: {path}\n" for path in damaged) or "all entries are sound\n")
            return 1 if damaged else 0
        case _:
            sys.stdout.write(f"{cache.clear()} entries removed\n")
            return 0
