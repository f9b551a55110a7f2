"""Bodies of `pvrbench list | check-encoder | check-task | check-head`: names, and whether what they name is sound."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from pvrbench.benchmark.catalog import (
    Catalog,
    adaptations,
    encoders,
    executors,
    heads,
    looks,
    probes,
    readouts,
    schedules,
    tasks,
    text_encoders,
    unknown,
)
from pvrbench.benchmark.commands.verb import Verb, VerbSettings, print_json, terminal
from pvrbench.benchmark.composition import compose_config, preset_names
from pvrbench.benchmark.config import ConfigError

Kind = Literal[
    "encoders",
    "tasks",
    "heads",
    "readouts",
    "adaptations",
    "text_encoders",
    "probes",
    "looks",
    "schedules",
    "executors",
]


class ListSettings(VerbSettings):
    """Settings of `pvrbench list`."""

    subjects: ClassVar[tuple[str, ...]] = ("kind", "verb")

    kind: Literal[Kind, "presets", "settings"]
    """What is listed."""
    verb: str | None = None
    """Verb whose settings are listed; `run` where it is left out."""
    as_json: bool = False
    """Print JSON for a program to read."""


class CheckEncoderSettings(VerbSettings):
    """Settings of `pvrbench check-encoder`."""

    subjects: ClassVar[tuple[str, ...]] = ("encoder",)

    encoder: str
    """Catalog name, `module:attribute` or checkpoint URI."""
    device: str = "cpu"
    """Where it runs: `cpu`, `cuda`, `cuda:1`."""


class CheckTaskSettings(VerbSettings):
    """Settings of `pvrbench check-task`."""

    subjects: ClassVar[tuple[str, ...]] = ("task",)

    task: str
    """Catalog name or `module:attribute`."""


class CheckHeadSettings(VerbSettings):
    """Settings of `pvrbench check-head`."""

    subjects: ClassVar[tuple[str, ...]] = ("head",)

    head: str
    """Catalog name or `module:attribute`."""


CATALOGS: Mapping[Kind, Callable[[], Catalog[Any]]] = {
    "encoders": encoders,
    "tasks": tasks,
    "heads": heads,
    "readouts": readouts,
    "adaptations": adaptations,
    "text_encoders": text_encoders,
    "probes": probes,
    "looks": looks,
    "schedules": schedules,
    "executors": executors,
}
COLUMNS: Mapping[str, Sequence[str]] = {
    "encoders": ("objective", "image_size", "num_params", "licence"),
    "tasks": ("description", "horizon", "measured", "cameras"),
    "looks": ("description", "num_levels"),
    "settings": ("type", "default", "meaning"),
    "presets": ("tasks", "heads", "num_demos", "num_episodes"),
}
HEADINGS: Mapping[str, str] = {"measured": "oracle / proprio / expert, %"}


def list_names(settings: ListSettings) -> int:
    """Lists a catalog."""
    broken: Mapping[str, str] = {}
    rows: Mapping[str, dict[str, object]]
    if settings.kind == "settings":
        rows = _setting_rows(settings.verb or "run")
    elif settings.kind == "presets":
        configs = {name: compose_config([f"preset={name}"]) for name in preset_names()}
        rows = {
            name: config.model_dump(mode="json", exclude={"name", "run_dir", "engine", "cluster"})
            for name, config in configs.items()
        }
    else:
        specs, broken = CATALOGS[settings.kind]().usable()
        rows = {name: _as_row(spec) for name, spec in specs.items()}
    for reason in broken.values():
        sys.stderr.write(f"warning: {reason}\n")
    if settings.as_json:
        print_json({name: {key: _plain(value) for key, value in row.items()} for name, row in rows.items()})
        return 0
    columns = COLUMNS.get(settings.kind, ("description",))
    table = Table(box=None)
    for name in (settings.kind, *columns):
        # Names are what is searched for and copied: they are never cut.
        table.add_column(HEADINGS.get(name, name), no_wrap=name == settings.kind, overflow="fold")
    for name, row in rows.items():
        table.add_row(name, *(_cell_text(row.get(column)) for column in columns))
    terminal().print(table)
    return 0


def _setting_rows(name: str) -> dict[str, dict[str, object]]:
    """The settings of a verb, by key."""
    from pvrbench.benchmark.commands.help import default_text, kind_text, settings_of
    from pvrbench.benchmark.commands.verbs import VERBS

    if name not in VERBS:
        raise ConfigError(unknown("verb", name, VERBS, "pvrbench --help"))
    return {
        row.path: {"type": kind_text(row), "default": default_text(row), "meaning": row.meaning}
        for row in settings_of(VERBS[name])
    }


def _as_row(spec: Any) -> dict[str, object]:
    return {item.name: getattr(spec, item.name) for item in fields(spec)}


def _plain(value: Any) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _cell_text(value: object) -> str:
    if isinstance(value, tuple | list):
        return " ".join(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if value is None:
        return ""
    return f"{value / 1e6:.1f}M" if isinstance(value, int) and value > 10_000 else str(value)


def check_encoder_command(settings: CheckEncoderSettings) -> int:
    """Checks one encoder."""
    from pvrbench.benchmark.engine.encoder_pool import load_encoder
    from pvrbench.encoders.checks import TILE, check_encoder
    from pvrbench.encoders.cost import flops_per_frame, measure, num_params
    from pvrbench.encoders.statement import preprocessing_of

    encoder = load_encoder(encoders()[settings.encoder]).to(settings.device)
    if encoder.spec.modality != "image":
        raise ValueError(f"Encoder {encoder.spec.name!r} reads no images; there is nothing to check.")
    if encoder.spec.image_size:
        sys.stdout.write(f"images: {preprocessing_of(encoder.spec)}\n")
    status = _show_verdicts([(verdict.name, verdict.problem) for verdict in check_encoder(encoder)])
    if status == 0:
        place = "this processor" if settings.device == "cpu" else settings.device
        cost, flops = measure(encoder, TILE), flops_per_frame(encoder) or 0
        if cost is not None:
            sys.stdout.write(
                f"{num_params(encoder) / 1e6:.2f} million parameters, {flops / 1e9:.2f} GFLOP for a frame; on "
                f"{place} {cost.ms_alone:.1f} ms for a frame alone, {cost.ms_in_tile:.1f} ms in a tile of "
                f"{TILE}, {cost.peak_bytes / 2**20:.0f} MiB at most\n"
            )
    return status


def check_task_command(settings: CheckTaskSettings) -> int:
    """Checks one task."""
    from pvrbench.benchmark.engine.context import load_task
    from pvrbench.envs.checks import check_task

    verdicts = check_task(load_task(tasks()[settings.task]))
    return _show_verdicts([(verdict.name, verdict.problem) for verdict in verdicts])


def check_head_command(settings: CheckHeadSettings) -> int:
    """Checks one head."""
    from pvrbench.policies.checks import check_head

    return _show_verdicts([(verdict.name, verdict.problem) for verdict in check_head(heads()[settings.head])])


def _show_verdicts(verdicts: Sequence[tuple[str, str]]) -> int:
    table = Table("", "promise", "found", box=None)
    for name, problem in verdicts:
        table.add_row(Text("BROKEN", "red") if problem else Text("kept", "green"), name, problem)
    terminal().print(table)
    return 1 if any(problem for _, problem in verdicts) else 0


LIST = Verb(name="list", summary="List what can be named in a run.", settings=ListSettings, body=list_names)
CHECK_ENCODER = Verb(
    name="check-encoder",
    summary="Check an encoder against the contract, point by point.",
    settings=CheckEncoderSettings,
    body=check_encoder_command,
)
CHECK_TASK = Verb(
    name="check-task",
    summary="Check a task: determinism, expert, demonstrations, splits.",
    settings=CheckTaskSettings,
    body=check_task_command,
)
CHECK_HEAD = Verb(
    name="check-head",
    summary="Check a head by training it on made-up demonstrations.",
    settings=CheckHeadSettings,
    body=check_head_command,
)
