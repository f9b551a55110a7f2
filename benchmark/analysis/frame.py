"""Records -> one tidy table with a row for each episode, for analyses of one's own."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordError, RecordStore, Refusal, read_files

CELL_COLUMNS = ("task", "camera", "encoder", "readout", "head", "num_demos", "seed")
FURTHER_COLUMNS = ("adaptation", "look", "instruction", "text_encoder", "conditioning", "wording", "split")
EPISODE_COLUMNS = ("episode", "state_seed", "success", "num_steps", "failure", "handled")
ORIGIN_COLUMNS = (*FURTHER_COLUMNS, "preset", "initial_states", "record")


def read_records(path: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Reads the records of one or more runs into a table, one row for each episode.

    Columns: those of the cell (`task`, `camera`, `encoder`, `readout`, `head`, `num_demos`, `seed`), then `episode`
    (position of the initial state), `state_seed`, `success`, `num_steps`, `failure`, `handled` (objects that were moved
    or touched, in order, joined by `+`), then `adaptation`, `look`, `instruction`, `text_encoder`, `conditioning`,
    `wording`, `split`, `preset`, `initial_states` (digest) and `record` (digest of the record). Rows are sorted by
    cell and episode, whatever the order of the files. Files that are no sound records are left out with a warning; a
    record that is given several times is taken once. Whether runs may be compared is not asked here, but by
    `pvrbench rank`.

    Args:
        path: a run's folder, a folder of record files, one record file, or several of these.

    Raises:
        RecordError: there is no sound record.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(item) for item in path]
    records: list[CellRecord] = []
    for item in paths:
        found, refusals = _read(item)
        records += found
        for refusal in refusals:
            warnings.warn(f"{refusal.path.name} was refused: it {refusal.reason}.", stacklevel=2)
    records = _once(records)
    if not records:
        raise RecordError(f"There are no sound records in {', '.join(str(item) for item in paths)}.")
    rows = [
        (
            *cell,
            episode.index,
            episode.seed,
            episode.success,
            episode.num_steps,
            episode.failure,
            "+".join(episode.handled),
            *origin,
        )
        for record in records
        for cell, origin in [(_cell(record), _origin(record))]
        for episode in record.episodes
    ]
    table = pd.DataFrame(rows, columns=[*CELL_COLUMNS, *EPISODE_COLUMNS, *ORIGIN_COLUMNS])
    return table.sort_values([*CELL_COLUMNS, "episode", "record"], ignore_index=True)


def _read(path: Path) -> tuple[list[CellRecord], Sequence[Refusal]]:
    if path.is_file():
        return read_files([path])
    store = RecordStore(path)
    return store.read() if store.exists else read_files(sorted(path.glob("*.json")))


def _once(records: Sequence[CellRecord]) -> list[CellRecord]:
    """Each record once, however often it was given; a cell with several results is kept, with a warning."""
    found = list({record.digest: record for record in records}.values())
    counts = Counter((record.cell, record.settings.model_dump_json(exclude={"deviations"})) for record in found)
    for (cell, _), count in counts.items():
        if count > 1:
            warnings.warn(f"There are {count} results of {cell.slug}; all their episodes are counted.", stacklevel=3)
    return found


def _cell(record: CellRecord) -> tuple[object, ...]:
    return tuple(getattr(record.cell, name) for name in CELL_COLUMNS)


def _origin(record: CellRecord) -> tuple[str, ...]:
    further = (str(getattr(record.cell, name)) for name in FURTHER_COLUMNS)
    return (*further, record.settings.preset, record.digests.initial_states, record.digest)
