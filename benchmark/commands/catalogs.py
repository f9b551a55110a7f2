"""Bodies of `pvrbench list | check-encoder | check-task`: what there is to be named, and whether it keeps its word."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pvrbench.benchmark.catalog import encoders, heads, readouts, tasks
from pvrbench.benchmark.commands.verb import AddVerb, print_json
from pvrbench.benchmark.composition import compose_config, preset_names


def add_catalogs(verb: AddVerb) -> None:
    """Adds the verbs."""
    listing = verb("list", "List what can be named in a run.", list_names)
    listing.add_argument("kind", choices=["encoders", "tasks", "heads", "readouts", "presets"])
    listing.add_argument("--json", action="store_true", help="print JSON for a program to read")
    check = verb("check-encoder", "Check an encoder against the contract, point by point.", check_encoder_command)
    check.add_argument("encoder", help="catalog name, module:attribute or checkpoint URI")
    check.add_argument("--device", default="cpu", help="where it runs: cpu, cuda, cuda:1; default cpu")
    check = verb("check-task", "Check a task: determinism, expert, demonstrations, splits.", check_task_command)
    check.add_argument("task", help="catalog name")


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


def check_encoder_command(options: Namespace) -> int:
    """Checks one encoder."""
    from pvrbench.benchmark.engine.encoder_pool import load_encoder
    from pvrbench.encoders.checks import TILE, check_encoder
    from pvrbench.encoders.cost import flops_per_frame, measure, num_params
    from pvrbench.encoders.statement import preprocessing_of

    encoder = load_encoder(encoders()[options.encoder]).to(options.device)
    if encoder.spec.modality != "image":
        raise ValueError(f"Encoder {encoder.spec.name!r} reads no images; there is nothing to check.")
    if encoder.spec.image_size:
        sys.stdout.write(f"images: {preprocessing_of(encoder.spec)}\n")
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
    from pvrbench.benchmark.engine.context import load_task
    from pvrbench.envs.checks import check_task

    verdicts = check_task(load_task(tasks()[options.task]))
    return _show_verdicts([(verdict.name, verdict.problem) for verdict in verdicts])


def _show_verdicts(verdicts: Sequence[tuple[str, str]]) -> int:
    table = Table("", "promise", "found", box=None)
    for name, problem in verdicts:
        table.add_row("[red]BROKEN[/red]" if problem else "[green]kept[/green]", name, escape(problem))
    Console().print(table, highlight=False)
    return 1 if any(problem for _, problem in verdicts) else 0
