"""How far a run is, from its folder alone: what is recorded, under way, failed and missing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.parts import PartStore
from pvrbench.benchmark.records.store import RecordStore

# Folders of a run: tracebacks of jobs that did not come to their end, and signs of life of those under way.
ERRORS, RUNNING = "errors", "running"

# A job gives a sign of life twice a minute; one that has been silent for longer than this has died with its machine.
SILENT_S = 300.0

State = Literal["done", "failed", "running", "silent", "missing"]


@dataclass(frozen=True, slots=True)
class JobState:
    """How far one job is.

    Attributes:
        name: of the job.
        num_cells: cells that were planned.
        num_recorded: cells that have their record.
        num_failed: those whose training failed.
        num_unfinished: cells of a sequential evaluation that have episodes but no record yet.
        state: `done` where all cells have their record, `running` where it gives signs of life, `silent` where it did
            once, `failed` where it left a traceback, else `missing`.
        words: where it runs, or why it failed.
    """

    name: str
    num_cells: int
    num_recorded: int
    num_failed: int
    num_unfinished: int
    state: State
    words: str


def states_of(run_dir: Path, jobs: Sequence[tuple[str, Sequence[Cell]]]) -> list[JobState]:
    """How far each job of a run is.

    Args:
        run_dir: the run's folder.
        jobs: names and planned cells.

    Raises:
        RecordError: a part of a record is not sound.
    """
    records = {record.cell: record for record in RecordStore(run_dir).read()[0]}
    parts = PartStore(run_dir).read()
    found: list[JobState] = []
    for name, cells in jobs:
        recorded = [records[cell] for cell in cells if cell in records]
        state, words = ("done", "") if len(recorded) == len(cells) else _signs(run_dir, cells)
        found.append(
            JobState(
                name=name,
                num_cells=len(cells),
                num_recorded=len(recorded),
                num_failed=sum(record.failure is not None for record in recorded),
                num_unfinished=sum(cell in parts and cell not in records for cell in cells),
                state=state,
                words=words,
            )
        )
    return found


def _signs(run_dir: Path, cells: Sequence[Cell]) -> tuple[State, str]:
    """What a job that is not done left in the folder; it is named after the first cell that it had to do."""
    for cell in cells:
        path = run_dir / RUNNING / f"{cell.slug}.json"
        try:
            silent_s, host = time.time() - path.stat().st_mtime, str(json.loads(path.read_text())["host"])
        except (OSError, ValueError, KeyError):
            continue
        if silent_s < SILENT_S:
            return "running", f"on {host}"
        return "silent", f"on {host}; no sign of life for {silent_s / 60:.0f} min"
    for cell in cells:
        path = run_dir / ERRORS / f"{cell.slug}.txt"
        if path.is_file():
            lines = path.read_text(errors="replace").strip().splitlines() or ["no traceback"]
            return "failed", f"{lines[-1]} ({path})"
    return "missing", ""
