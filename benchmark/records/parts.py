"""Parts of records: the episodes of cells whose evaluation goes on, kept so that an interrupted run loses no round."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import ROUNDS_FOLDER, RecordError, RecordStore

UNFINISHED = "not finished: more rounds follow"

# Sums over the rounds; all other timings are those of the first round.
ADDED_UP = "since_evaluation_began_s"


class PartStore:
    """The parts of the records of one run. Each is a sealed record of its own with the episodes of one round.

    Args:
        run_dir: the run's folder; parts lie in `run_dir/rounds`.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / ROUNDS_FOLDER

    def write(self, record: CellRecord) -> Path:
        """Writes a part; see `RecordStore.write`."""
        # No two parts of a cell share a state.
        return RecordStore(self.folder / f"{record.episodes[0].index:06d}").write(record)

    def read(self) -> dict[Cell, list[CellRecord]]:
        """All parts by cell.

        Raises:
            RecordError: one is not sound.
        """
        found: dict[Cell, list[CellRecord]] = {}
        for folder in sorted(self.folder.glob("*")):
            records, refusals = RecordStore(folder).read()
            if refusals:
                raise RecordError(
                    f"{refusals[0].path} is not a sound part of a record: it {refusals[0].reason}. Move it away to run "
                    "its episodes again."
                )
            for record in records:
                found.setdefault(record.cell, []).append(record)
        return found

    def clear(self) -> None:
        """Removes all parts, once everything is recorded."""
        shutil.rmtree(self.folder, ignore_errors=True)


def joined(parts: Sequence[CellRecord], stopped: str) -> CellRecord:
    """The record that some parts make.

    Args:
        parts: one or more parts of one cell.
        stopped: why the evaluation ended before all planned episodes; empty where it did not.

    Raises:
        RecordError: the parts were not made under the same settings and of the same inputs.
    """
    # The part whose policy was trained first holds how long that took.
    ordered = sorted(parts, key=lambda part: ("train_s" not in part.timing, part.recorded_at, part.episodes[0].index))
    first = ordered[0]
    for part in ordered:
        if (part.settings, part.digests) != (first.settings, first.digests):
            raise RecordError(
                f"The rounds of {first.cell.slug} were run with different settings or inputs. Give the run a name of "
                "its own with name=..."
            )
    episodes = sorted((episode for part in ordered for episode in part.episodes), key=lambda episode: episode.index)
    seconds = sum(part.timing.get(ADDED_UP, 0.0) for part in ordered)
    return first.model_copy(
        update={
            "episodes": tuple(episodes),
            "stopped": stopped,
            "timing": {**first.timing, ADDED_UP: seconds},
            "recorded_at": max(part.recorded_at for part in ordered),
        }
    )
