"""A run's records in one file."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

import pvrbench
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.store import PACKED_NAME, RecordError, RecordStore, write_packed


@pytest.fixture
def run_dir(made_up_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made_up_run, tmp_path / "run")


def test_packing_keeps_every_record_and_what_is_made_of_them(
    run_dir: Path, made_up_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loose = {record.digest for record in RecordStore(run_dir).read()[0]}
    assert main(["rank", str(run_dir), "--csv"]) == 0
    before = capsys.readouterr().out
    assert main(["pack", str(run_dir)]) == 0
    assert not (run_dir / "records").exists()
    assert {record.digest for record in RecordStore(run_dir).read()[0]} == loose
    capsys.readouterr()
    assert main(["rank", str(run_dir), "--csv"]) == 0
    assert capsys.readouterr().out == before
    assert pvrbench.read_records(run_dir).equals(pvrbench.read_records(made_up_run))


def test_equal_records_give_equal_bytes(run_dir: Path, tmp_path: Path) -> None:
    records = RecordStore(run_dir).read()[0]
    write_packed(tmp_path / "one.jsonl.gz", records)
    write_packed(tmp_path / "other.jsonl.gz", records[::-1])
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "other.jsonl.gz").read_bytes()


def test_a_packed_run_goes_on_with_loose_files_beside_it(run_dir: Path) -> None:
    store = RecordStore(run_dir)
    records = store.read()[0]
    store.pack()
    later = records[0].model_copy(
        update={
            "cell": records[0].cell.model_copy(update={"train": records[0].cell.train.model_copy(update={"seed": 99})})
        }
    )
    store.write(later)
    assert len(store.read()[0]) == len(records) + 1
    assert store.pack() == len(records) + 1


def test_nothing_is_lost_where_a_record_is_not_sound(run_dir: Path) -> None:
    store = RecordStore(run_dir)
    bad = sorted(store.records_dir.glob("*.json"))[0]
    bad.write_text("{")
    before = sorted(path.name for path in store.records_dir.iterdir())
    with pytest.raises(RecordError, match=r"is not whole JSON.*Move it away, then pack again"):
        store.pack()
    assert sorted(path.name for path in store.records_dir.iterdir()) == before
    assert not store.packed_path.exists()


def test_a_spoilt_line_is_named_and_the_rest_is_read(run_dir: Path) -> None:
    store = RecordStore(run_dir)
    number = store.pack()
    lines = gzip.decompress(store.packed_path.read_bytes()).decode().splitlines()
    lines[2] = lines[2].replace('"success":true', '"success":false', 1)
    store.packed_path.write_bytes(gzip.compress("\n".join(lines).encode()))
    records, refusals = store.read()
    assert len(records) == number - 1
    assert [refusal.path.name for refusal in refusals] == [f"{PACKED_NAME}:3"]
    assert "was changed after it was written" in refusals[0].reason


@pytest.mark.parametrize("kind", ["empty", "foreign", "truncated"])
def test_a_file_that_cannot_be_unpacked_is_named(run_dir: Path, kind: str) -> None:
    store = RecordStore(run_dir)
    store.pack()
    whole = store.packed_path.read_bytes()
    content = {"empty": b"", "foreign": b"no gzip", "truncated": whole[: len(whole) // 2]}[kind]
    store.packed_path.write_bytes(content)
    records, refusals = store.read()
    assert not records
    assert ("holds nothing" if kind == "empty" else "cannot be unpacked") in refusals[0].reason
