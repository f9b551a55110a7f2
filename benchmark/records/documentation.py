"""What a record holds, for readers: its JSON Schema and a table of its fields, made from the schema's own classes.

`python -m pvrbench.benchmark.records.documentation` writes both into `docs/`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pvrbench.benchmark.records.schema import SCHEMA_VERSION, CellRecord

SCHEMA_FILE, TABLE_FILE = "record.schema.json", "records.md"

# What the page says above its table.
INTRODUCTION = f"""\
# Fields of a record

A record is one JSON object for each cell (schema version {SCHEMA_VERSION}). This page and the JSON Schema
[{SCHEMA_FILE}]({SCHEMA_FILE}) are made by `python -m pvrbench.benchmark.records.documentation`.
Records of schema 2 are read too: they are converted when they are read.

The folder `records/` of a run has one file for each record. `pvrbench pack RUN_DIR` writes `records.jsonl.gz` with
one record in each line. `pvr.read_records` makes a table of both, with a row for each episode
([Reading records](results.md#reading-records)). A record, shortened:

```json
{{
 "schema_version": 3,
 "cell": {{
  "train": {{"tasks": ["metaworld/assembly-v3"], "camera": "left_cap2", "encoder": "zoo_mae", "adaptation": "frozen",
            "readout": "grid_pca", "head": "mlp", "num_demos": 25, "seed": 0}},
  "evaluation": {{"task": "metaworld/assembly-v3", "instruction": "", "camera": "left_cap2", "look": "nominal",
                 "split": "test"}}
 }},
 "settings": {{"preset": "quickstart", "num_episodes": 12, "horizon": 150, "...": "..."}},
 "digests": {{"encoder": "1e0a3c34...", "demos": "32756144...", "initial_states": "367bc575...", "...": "..."}},
 "episodes": [
  {{"index": 0, "seed": 2000000, "success": true, "num_steps": 94, "failure": null}},
  {{"index": 1, "seed": 2000001, "success": false, "num_steps": 150, "failure": null}}
 ],
 "failure": null,
 "digest": "2951600c..."
}}
```

If a cell or an episode did not go as planned, look here:

| field | says |
|---|---|
| `failure` | why the whole cell has no episodes, for example because training diverged |
| `episodes[].failure` | why this episode was given up; it counts as not solved |
| `stopped` | why there are fewer episodes than planned, in words of the schedule |

The schedule `fixed` never stops early. `sequential` writes that all comparisons of the contender were settled, after
how many states, how many are significantly different, and how many were given up. The table has every field:
"""


def json_schema() -> str:
    """JSON Schema of a record, as text."""
    schema = CellRecord.model_json_schema(mode="serialization")
    schema |= {"title": f"pvrbench record, schema {SCHEMA_VERSION}"}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def field_table() -> str:
    """A page in Markdown with every field of a record, by its path, type and meaning."""
    schema = cast("dict[str, Any]", json.loads(json_schema()))
    lines = [
        INTRODUCTION,
        "| field | type | meaning |",
        "|---|---|---|",
        *(_line(row) for row in field_rows(schema, groups=True)),
    ]
    return "\n".join(lines) + "\n"


def _line(row: FieldRow) -> str:
    meaning = row.meaning.replace("|", "\\|")
    return f"| `{row.path}` | {row.kind} | {meaning} |"


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field of a pydantic class, for readers.

    Attributes:
        path: names of the groups it belongs to and its own, with dots.
        kind: its type.
        default: its default value; None where it has none.
        required: whether it has no default.
        meaning: its docstring, on one line.
    """

    path: str
    kind: str
    default: object
    required: bool
    meaning: str


def field_rows(schema: dict[str, Any], *, groups: bool = False) -> Iterator[FieldRow]:
    """All fields of a class, those of nested classes behind the field that holds them.

    Args:
        schema: JSON Schema of the class.
        groups: whether fields that hold others have a row too, and whether those in lists are entered.
    """
    return _rows(schema, schema, "", groups=groups)


def _rows(part: dict[str, Any], whole: dict[str, Any], prefix: str, *, groups: bool) -> Iterator[FieldRow]:
    for name, field in cast("dict[str, dict[str, Any]]", part["properties"]).items():
        found = _resolved(field, whole)
        inner, path = found, f"{prefix}{name}"
        if groups and found.get("type") == "array" and "items" in found:
            inner, path = _resolved(found["items"], whole), f"{prefix}{name}[]"
        row = FieldRow(
            path=f"{prefix}{name}",
            kind=_kind(found),
            default=field.get("default"),
            required=name in part.get("required", ()),
            meaning=" ".join(str(field.get("description", "")).split()),
        )
        if "properties" not in inner:
            yield row
            continue
        if groups:
            yield replace(row, path=path, kind="object" if inner is found else "list of objects")
        yield from _rows(inner, whole, f"{path}.", groups=groups)


def _resolved(field: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A field with what it refers to."""
    reference = field.get("$ref")
    return field if reference is None else whole["$defs"][str(reference).rpartition("/")[2]]


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in field["anyOf"]))
    return {"array": "list", "object": "mapping", "null": "null"}.get(
        str(field.get("type")), str(field.get("type", "any"))
    )


def main(folder: Path) -> int:
    """Writes both files."""
    (folder / SCHEMA_FILE).write_text(json_schema(), encoding="utf-8")
    (folder / TABLE_FILE).write_text(field_table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path("docs")))
