"""A report shows one instruction for each task: that of the training, or one of the others with a line that says so."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.statistics import analyse
from pvrbench.benchmark.records.store import RecordStore

Told = tuple[str, str]


def told_run(run: Path, folder: Path, all_told: Sequence[Told]) -> Path:
    """The records of a run, once for each wording and instruction."""
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "records")
    store = RecordStore(folder)
    for record in RecordStore(run).read()[0]:
        for wording, instruction in all_told:
            update = {"wording": wording, "instruction": instruction}
            place = record.cell.evaluation.model_copy(update=update)
            store.write(record.model_copy(update={"cell": record.cell.model_copy(update={"evaluation": place})}))
    return folder


@pytest.mark.parametrize(
    ("all_told", "shown", "said"),
    [
        ([("", "lift it"), ("swapped", "drop it")], "lift it", "of the training are shown. There are others (swapped)"),
        (
            [("paraphrase", "raise it"), ("paraphrase", "pick it up"), ("swapped", "drop it")],
            "pick it up",
            "'pick it up' are shown. There are others (paraphrase, swapped)",
        ),
        ([("swapped", "drop it")], "drop it", ""),
    ],
)
def test_one_instruction_for_each_task_is_shown(
    made_up_run: Path, tmp_path: Path, all_told: list[Told], shown: str, said: str
) -> None:
    records, warnings = load_runs([told_run(made_up_run, tmp_path / "run", all_told)])
    assert {record.cell.evaluation.instruction for record in records} == {shown}
    assert any(said in line for line in warnings) or not said
    assert bool(said) == any("wordings" in line for line in warnings)
    assert analyse(records).ranking
