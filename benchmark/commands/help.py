"""What help and `pvrbench list settings` say of a verb, made from the class of its settings."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from pvrbench.benchmark.commands.verb import FLAG, RunSettings, Verb, flags_of, keys_of
from pvrbench.benchmark.composition import EVALUATION_KEYS, compose_config
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.records.documentation import FieldRow, field_rows


def settings_of(verb: Verb[Any]) -> list[FieldRow]:
    """The settings of a verb that are written `key=value`, those of groups as `group.key`."""
    if not issubclass(verb.settings, RunSettings):
        keys = [*keys_of(verb.settings)]
        return [row for row in field_rows(verb.settings.model_json_schema()) if row.path in keys]
    changeable = {*BenchmarkConfig.model_fields} - {"deviations"}
    defaults = _flat(compose_config([]).model_dump(mode="json"))
    if "run_dir" in verb.settings.subjects:
        changeable = {*EVALUATION_KEYS, "engine", "cluster"}
        defaults |= {key: "the run's own" for key in EVALUATION_KEYS if key not in ("name", "run_dir")}
    rows = (row for row in field_rows(BenchmarkConfig.model_json_schema()) if row.path.partition(".")[0] in changeable)
    return [replace(row, default=defaults.get(row.path, row.default), required=False) for row in rows]


def default_text(row: FieldRow) -> str:
    """What a setting is where it is left out, as it is typed."""
    return "needed" if row.required else _typed(row.default)


def kind_text(row: FieldRow) -> str:
    """The type of a setting, or its choices."""
    return row.kind.replace("`", "")


def help_of(verb: Verb[Any]) -> str:
    """The help of a verb."""
    rows = {row.path: row for row in field_rows(verb.settings.model_json_schema())}
    sections: list[tuple[str, list[tuple[str, str]]]] = [
        ("subjects", [(name.upper().removesuffix("S"), rows[name].meaning) for name in verb.settings.subjects]),
        ("settings", [_described(rows[key]) for key in keys_of(verb.settings)]),
        ("output", [(flag, rows[FLAG + flag[2:]].meaning) for flag in flags_of(verb.settings)]),
    ]
    blocks = [f"usage: {verb.usage}", verb.summary]
    blocks += [f"{title}:\n{_columns(lines)}" for title, lines in sections if lines]
    if issubclass(verb.settings, RunSettings):
        blocks.append(f"`pvrbench list settings {verb.name}` lists the settings, with types, defaults and meanings.")
    return "\n\n".join([*blocks, *([verb.details] if verb.details else [])]) + "\n"


def help_of_all(verbs: Iterable[Verb[Any]]) -> str:
    """The help of the program."""
    return (
        "usage: pvrbench VERB SUBJECT... key=value...\n\n"
        "Ranks frozen visual encoders for robot manipulation: success against demonstrations.\n\n"
        f"{_columns([(verb.name, verb.summary) for verb in verbs])}\n\n"
        "`pvrbench VERB --help` shows the settings of a verb.\n"
        "Start with `pvrbench doctor`, then `pvrbench run preset=quickstart`.\n"
    )


def _described(row: FieldRow) -> tuple[str, str]:
    default = "" if row.required or row.default is None else f" Default: {_typed(row.default)}."
    return f"{row.path}={kind_text(row).removesuffix(' or null').replace(' or ', '|')}", row.meaning + default


def _typed(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(_typed(item) for item in cast('list[object]', value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    groups = {key: cast("Mapping[str, object]", value) for key, value in values.items() if isinstance(value, dict)}
    return {**values, **{f"{key}.{name}": value for key, group in groups.items() for name, value in group.items()}}


def _columns(lines: Sequence[tuple[str, str]]) -> str:
    """Two columns, the second wrapped."""
    left = min(34, max(len(key) for key, _ in lines)) + 2
    width = max(60, min(120, shutil.get_terminal_size().columns))
    blank = " " * (left + 2)
    found: list[str] = []
    for key, text in lines:
        wrapped = textwrap.wrap(text, width - left - 2) or [""]
        first = f"  {key:<{left}}{wrapped[0]}" if len(key) < left else f"  {key}\n{blank}{wrapped[0]}"
        found += [first, *(blank + line for line in wrapped[1:])]
    return "\n".join(found)
