from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import CellRecord, Cost, Digests, Episode, Provenance, Settings
from pvrbench.benchmark.records.store import RecordError, RecordStore, read_record


def record(num_demos: int = 5, *, success: bool = True) -> CellRecord:
    return CellRecord(
        cell=Cell(
            task="metaworld/assembly-v3",
            camera="corner2",
            encoder="pixels_14",
            readout="pooled",
            head="mlp",
            num_demos=num_demos,
            seed=0,
        ),
        settings=Settings(
            preset="quickstart",
            render="lean",
            image_px=112,
            preprocessing="full_frame",
            split="test",
            num_episodes=2,
            horizon=150,
            success_rule="any_step",
            demo_pool=25,
            history=1,
            fusion="none",
            budget_dim=None,
            head_options={},
            train={"num_updates": 10},
            deviations=(),
        ),
        digests=Digests(initial_states="a", demos="b", encoder="c", simulator={"mujoco": "3.3.0"}),
        provenance=Provenance(
            version="0.1.0",
            commit="",
            python="3.11",
            packages={},
            platform="Linux",
            device="cpu",
            gl="llvmpipe",
            tile=8,
            encoder={},
        ),
        cost=Cost(encoder_params=0, readout_params=0, head_params=10, flops_per_frame=None, feature_dim=4),
        train_log={"final_loss": 0.1},
        failure=None,
        episodes=(
            Episode(index=0, seed=7, success=success, num_steps=40),
            Episode(index=1, seed=8, success=False, num_steps=150),
        ),
        timing={"train_s": 1.0},
        recorded_at="2026-01-01T00:00:00+00:00",
    )


def edited(path: Path, change: dict[str, Any]) -> None:
    value = json.loads(path.read_text())
    value.update(change)
    path.write_text(json.dumps(value))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(record(5))
    store.write(record(10))
    records, refusals = store.read()
    assert [item.cell.num_demos for item in records] == [10, 5]
    assert refusals == []
    assert records[1] == record(5).sealed()


def test_timing_alone_may_differ_between_repetitions(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(record())
    store.write(record().model_copy(update={"timing": {"train_s": 2.0}}))
    with pytest.raises(RecordError, match="never overwritten"):
        store.write(record(success=False))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"failure": "made up"}, "was changed after it was written"),
        ({"schema_version": 99}, "has schema version 99; this program reads 2"),
        ({"extra": 1}, "does not follow the schema at extra"),
        ({"episodes": "many"}, "does not follow the schema at episodes"),
    ],
)
def test_a_bad_record_is_refused_by_name_and_the_rest_is_read(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    store = RecordStore(tmp_path)
    store.write(record(5))
    bad = store.write(record(10))
    edited(bad, change)
    records, refusals = store.read()
    assert [item.cell.num_demos for item in records] == [5]
    assert [refusal.path for refusal in refusals] == [bad]
    assert reason in refusals[0].reason


def test_truncated_and_non_finite_records_are_refused(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    path = store.write(record())
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(RecordError, match="not whole JSON"):
        read_record(path)
    path.write_text(text.replace('"final_loss": 0.1', '"final_loss": NaN'))
    with pytest.raises(RecordError, match="non-finite number NaN"):
        read_record(path)


def test_a_repeated_cell_is_refused(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    path = store.write(record())
    path.with_name("copy.json").write_text(path.read_text())
    records, refusals = store.read()
    assert len(records) == 1
    assert "repeats the cell" in refusals[0].reason


def test_half_written_files_are_not_read(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(record())
    (tmp_path / "records" / ".x.tmp").write_text('{"half":')
    assert len(store.read()[0]) == 1


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file where the folder should be")
    with pytest.raises(RecordError, match="Choose another folder with run_dir="):
        RecordStore(tmp_path).write(record())


@pytest.mark.parametrize("kept", [(0,), (1, 0), (0, 0), (0, 1, 1)])
def test_a_record_holds_each_episode_once_and_in_order(tmp_path: Path, kept: tuple[int, ...]) -> None:
    whole = record()
    spoilt = whole.model_copy(update={"episodes": tuple(whole.episodes[index] for index in kept)})
    path = tmp_path / "spoilt.json"
    path.write_text(spoilt.sealed().model_dump_json())
    with pytest.raises(RecordError, match="does not hold episodes 0 to 1, each once and in order"):
        read_record(path)
    store = RecordStore(tmp_path)
    with pytest.raises(RecordError, match="is not written, for it does not hold episodes 0 to 1, each once"):
        store.write(spoilt)
    assert not store.path_of(spoilt.cell).exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timing": {"train_s": float("nan")}}, "is not written, for it holds a number that is not finite"),
        ({"train_log": {"final_loss": float("inf")}}, "is not written, for it holds a number that is not finite"),
        ({"schema_version": 1}, "is not written, for it has schema version 1"),
        ({"episodes": ()}, "is not written, for it does not hold episodes 0 to 1"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        RecordStore(tmp_path).write(record().model_copy(update=change))
    assert not list(tmp_path.rglob("*.json"))


def test_a_record_that_claims_billions_of_episodes_is_refused_at_once(tmp_path: Path) -> None:
    whole = record()
    claims = whole.settings.model_copy(update={"num_episodes": 3_000_000_000})
    path = tmp_path / "claims.json"
    path.write_text(whole.model_copy(update={"settings": claims}).sealed().model_dump_json())
    old = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # What a list of them would take is refused by the system, so that the test cannot take it either.
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, old[1]))
    try:
        with pytest.raises(RecordError, match="does not hold episodes 0 to 2999999999"):
            read_record(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "cannot be read"),
        ('{"schema_version": ' + "9" * 5000 + "}", "cannot be read"),
        ("[]", "has schema version None"),
        ('{"schema_version": 1e999}', "has schema version inf"),
        ("", "is not whole JSON"),
        ('{"schema_version": -Infinity}', "non-finite number -Infinity"),
    ],
)
def test_no_file_stops_the_reading_of_the_others(tmp_path: Path, text: str, reason: str) -> None:
    store = RecordStore(tmp_path)
    bad = store.write(record()).with_name("bad.json")
    bad.write_text(text)
    records, refusals = store.read()
    assert len(records) == 1
    assert [refusal.path for refusal in refusals] == [bad]
    assert reason in refusals[0].reason
