"""Records of earlier versions are read as records of this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.statistics import analyse
from pvrbench.benchmark.records.documentation import field_table, json_schema
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.migrations import UNSEALED
from pvrbench.benchmark.records.schema import SCHEMA_VERSION
from pvrbench.benchmark.records.store import RecordError, RecordStore, read_record

ROOT = Path(__file__).parents[4]
HISTORIC = sorted((ROOT / "tests" / "golden" / "records_schema_2").glob("*.json"))
PACKED = sorted((ROOT / "results" / "studies").rglob("records.jsonl.gz"))


@pytest.mark.parametrize("path", HISTORIC, ids=lambda path: path.name[-17:-5])
def test_a_historic_record_keeps_everything_it_says(path: Path) -> None:
    old: dict[str, Any] = json.loads(path.read_text())
    record = read_record(path)
    assert record.schema_version == SCHEMA_VERSION
    assert {name: getattr(record.cell, name) for name in old["cell"]} == old["cell"]
    assert record.cell.train.tasks == (old["cell"]["task"],)
    assert (record.cell.adaptation, record.cell.look, record.cell.instruction) == ("frozen", "nominal", "")
    assert record.cell.split == old["settings"].pop("split")
    assert record.settings.model_dump(mode="json") == old["settings"]
    assert [episode.model_dump(mode="json") for episode in record.episodes] == old["episodes"]
    assert record.digests.encoder == old["digests"]["encoder"]
    assert record.migrated_from == f"schema 2, digest {old['digest']}"
    assert read_record(path) == record


def test_an_edited_historic_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edited.json"
    path.write_text(HISTORIC[0].read_text().replace('"success": true', '"success": false', 1))
    with pytest.raises(RecordError, match="was changed after it was written"):
        read_record(path)


@pytest.mark.parametrize("version", [1, 99, None, "3", 2.0, True])
def test_other_versions_are_refused_by_number(tmp_path: Path, version: object) -> None:
    value = json.loads(HISTORIC[0].read_text()) | {"schema_version": version}
    path = tmp_path / "other.json"
    path.write_text(json.dumps(value))
    with pytest.raises(RecordError, match=rf"has schema version {version!r}; this program reads 2, 3"):
        read_record(path)


def test_a_historic_record_that_lacks_something_is_refused_in_one_line(tmp_path: Path) -> None:
    value = json.loads(HISTORIC[0].read_text())
    del value["settings"]["split"]
    value["digest"] = digest_of({key: part for key, part in value.items() if key not in UNSEALED})
    path = tmp_path / "short.json"
    path.write_text(json.dumps(value))
    with pytest.raises(RecordError, match=r"does not follow schema 2 \(KeyError: 'split'\)"):
        read_record(path)


@pytest.mark.parametrize("path", PACKED, ids=lambda path: path.parent.name)
def test_the_committed_studies_are_sound(path: Path) -> None:
    records, refusals = RecordStore(path.parent).read()
    assert records
    assert not refusals
    assert len({record.cell.key for record in records}) == len(records)


def test_a_packed_study_is_ranked_like_any_run() -> None:
    records, warnings = load_runs([ROOT / "results" / "studies" / "zoo"])
    assert len(records) == 729
    assert not warnings
    assert analyse(records).ranking


def test_the_documentation_of_a_record_is_that_of_the_code() -> None:
    # After a change: python -m pvrbench.benchmark.records.documentation
    assert (ROOT / "docs" / "record.schema.json").read_text() == json_schema()
    assert (ROOT / "docs" / "records.md").read_text() == field_table()
