"""Records on disk: atomic writing, validated reading. No torch, no simulator."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pvrbench.benchmark.records.schema import SCHEMA_VERSION, Cell, CellRecord, digest_of


class RecordError(ValueError):
    """A record cannot be read, or cannot be written beside what is there; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was not taken as a record, and why."""

    path: Path
    reason: str


class RecordStore:
    """The records of one run directory; append-only, safe for several writers.

    Args:
        run_dir: the run's folder; records lie in `run_dir/records`.
    """

    def __init__(self, run_dir: Path) -> None:
        self.records_dir = run_dir / "records"

    def path_of(self, cell: Cell) -> Path:
        """Where the record of a cell lies or would lie."""
        return self.records_dir / f"{cell.slug}.json"

    def write(self, record: CellRecord) -> Path:
        """Writes a record so that it is there whole or not at all.

        Raises:
            RecordError: the folder cannot be written, another record of the cell is there already, or nobody could
                read this one again.
        """
        path = self.path_of(record.cell)
        text = _readable_text(record, path)
        try:
            if path.exists() and read_record(path).content_digest() != record.content_digest():
                raise RecordError(f"{path} holds another result of this cell; records are never overwritten.")
            write_atomically(path, text + "\n")
        except OSError as error:
            raise RecordError(
                f"Cannot write {path}: {error.strerror}. Choose another folder with run_dir=..."
            ) from error
        return path

    def read(self) -> tuple[list[CellRecord], list[Refusal]]:
        """All sound records, sorted by file name, and what was refused."""
        return read_files(sorted(self.records_dir.glob("*.json")))


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file by rename, flushed to disk, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is the owner's alone; results are for whoever may read the folder.
        Path(temporary).chmod(path.parent.stat().st_mode & 0o666 | 0o600)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_files(paths: Iterable[Path]) -> tuple[list[CellRecord], list[Refusal]]:
    """Reads record files; what is not a sound record is refused by name, the rest is returned."""
    records: list[CellRecord] = []
    refusals: list[Refusal] = []
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            record = read_record(path)
        except RecordError as error:
            refusals.append(Refusal(path, str(error)))
            continue
        key = digest_of([record.cell.model_dump(), record.settings.model_dump(mode="json")])
        if key in seen:
            refusals.append(Refusal(path, f"repeats the cell and settings of {seen[key].name}"))
            continue
        seen[key] = path
        records.append(record)
    return records, refusals


def _readable_text(record: CellRecord, path: Path) -> str:
    """The sealed record as it lies in its file, read back once: hours of episodes are not to end in a refused file."""
    try:
        text = json.dumps(record.sealed().model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)
    except ValueError as error:
        reason = f"holds a number that is not finite ({error})"
    else:
        try:
            _parsed(text)
        except RecordError as error:
            reason = str(error)
        else:
            return text
    raise RecordError(f"The record {path.name} is not written, for it {reason}. Report it: the fault is the program's.")


def read_record(path: Path) -> CellRecord:
    """Reads and validates one record.

    Raises:
        RecordError: the file is truncated, of another schema, edited by hand or holds non-finite numbers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot be read: {error}") from error
    return _parsed(text)


def _parsed(text: str) -> CellRecord:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecordError:
        raise
    except json.JSONDecodeError as error:
        raise RecordError(f"is not whole JSON (line {error.lineno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits and lists nested thousands deep.
        raise RecordError(f"cannot be read: {error}") from error
    version: object = value.get("schema_version") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if version != SCHEMA_VERSION:
        raise RecordError(f"has schema version {version!r}; this program reads {SCHEMA_VERSION}")
    try:
        record = CellRecord.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"does not follow the schema at {where or 'the top'}: {first['msg']}") from error
    if record.digest != record.content_digest():
        raise RecordError("was changed after it was written (its digest does not match its content)")
    expected = 0 if record.failure is not None else record.settings.num_episodes
    # Lengths first: a file may claim billions.
    if len(record.episodes) != expected or [episode.index for episode in record.episodes] != list(range(expected)):
        raise RecordError(f"does not hold episodes 0 to {expected - 1}, each once and in order")
    return record


def _refuse_constant(name: str) -> float:
    raise RecordError(f"holds the non-finite number {name}")
