"""What a record holds, for readers: its JSON Schema and a table of its fields, made from the schema's own classes.

`python -m pvrbench.benchmark.records.documentation` writes both into `docs/`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pvrbench.benchmark.records.schema import SCHEMA_VERSION, CellRecord

SCHEMA_FILE, TABLE_FILE = "record.schema.json", "records.md"


def json_schema() -> str:
    """JSON Schema of a record, as text."""
    schema = CellRecord.model_json_schema(mode="serialization")
    schema |= {"title": f"pvrbench record, schema {SCHEMA_VERSION}"}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def field_table() -> str:
    """A page in Markdown with every field of a record, by its path, type and meaning."""
    schema = cast("dict[str, Any]", json.loads(json_schema()))
    lines = [
        "# Fields of a record",
        "",
        f"A record is one JSON object for each cell (schema version {SCHEMA_VERSION}). This page and the JSON Schema",
        f"[{SCHEMA_FILE}]({SCHEMA_FILE}) are made by `python -m pvrbench.benchmark.records.documentation`.",
        "Records of schema 2 are read too: they are converted when they are read.",
        "",
        "| field | type | meaning |",
        "|---|---|---|",
        *(f"| `{path}` | {kind} | {meaning} |" for path, kind, meaning in _rows(schema, schema, "")),
    ]
    return "\n".join(lines) + "\n"


def _rows(schema: dict[str, Any], whole: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in cast("dict[str, dict[str, Any]]", schema["properties"]).items():
        found = _resolved(field, whole)
        inner, path = found, f"{prefix}{name}"
        if found.get("type") == "array" and "items" in found:
            inner, path = _resolved(found["items"], whole), f"{prefix}{name}[]"
        meaning = " ".join(str(field.get("description", "")).split()).replace("|", "\\|")
        if "properties" in inner:
            yield path, "object" if inner is found else "list of objects", meaning
            yield from _rows(inner, whole, f"{path}.")
        else:
            yield f"{prefix}{name}", _kind(found), meaning


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
