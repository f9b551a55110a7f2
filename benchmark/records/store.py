"""Records on disk: atomic writing, validated reading, loose files or one packed file. No torch, no simulator."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import TypeVar, cast

from pydantic import ValidationError

from pvrbench.benchmark.records.imagination_schema import ImaginationRecord
from pvrbench.benchmark.records.keys import Cell, digest_of
from pvrbench.benchmark.records.migrations import Json, MigrationError, migrated
from pvrbench.benchmark.records.probe_schema import ProbeRecord
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.common.files import write_atomically

R = TypeVar("R", CellRecord, ProbeRecord, ImaginationRecord)

PACKED_NAME = "records.jsonl.gz"
LOCK_NAME = ".lock"
# Parts of records whose evaluation goes on, see `parts`.
ROUNDS_FOLDER = "rounds"

# Bytes of a packed file when unpacked; a file that claims more is hostile.
MAX_UNPACKED = 4 * 2**30


class RecordError(ValueError):
    """A record cannot be read, or cannot be written beside what is there; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not taken, and why.

    Attributes:
        path: the file; for a line of a packed file `records.jsonl.gz:12`.
        reason: what is wrong, to stand behind the file's name.
    """

    path: Path
    reason: str


class RecordStore:
    """The records of one run directory; append-only, safe for several writers.

    Args:
        run_dir: the run's folder; records lie in `run_dir/records`, one JSON file each, or packed in
            `run_dir/records.jsonl.gz`, or in both.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.records_dir = run_dir / "records"
        self.packed_path = run_dir / PACKED_NAME

    @property
    def exists(self) -> bool:
        """Whether there is a place with records at all."""
        folders = (self.records_dir, self.run_dir / ROUNDS_FOLDER)
        return any(folder.is_dir() for folder in folders) or self.packed_path.is_file()

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

    def set_aside(self, cell: Cell) -> Path:
        """Moves the record of a cell to `failed/` in the folder of the run, and returns where it is now.

        Raises:
            RecordError: it lies in a packed file, or cannot be moved.
        """
        path, folder = self.path_of(cell), self.run_dir / "failed"
        if not path.exists():
            raise RecordError(f"The record of {cell.slug} lies in {self.packed_path}, where it stays. Give name=...")
        target = next(
            place
            for number in count()
            if not (place := folder / f"{cell.slug}{f'.{number}' * (number > 0)}.json").exists()
        )
        try:
            folder.mkdir(exist_ok=True)
            return path.replace(target)
        except OSError as error:
            raise RecordError(f"{path} cannot be moved to {folder}: {error.strerror}.") from error

    def read(self) -> tuple[list[CellRecord], list[Refusal]]:
        """All sound records, sorted by file name, then those of the packed file, and what was refused."""
        packed = [self.packed_path] if self.packed_path.is_file() else []
        return read_files([*sorted(self.records_dir.glob("*.json")), *packed])

    def pack(self) -> int:
        """Puts all records into the packed file; the loose files go once that was read back whole.

        Returns:
            The number of records in the packed file.

        Raises:
            RecordError: a record is not sound, or the file cannot be written; nothing is changed then.
        """
        records, refusals = self.read()
        if refusals:
            raise RecordError(f"{refusals[0].path} {refusals[0].reason}. Move it away, then pack again.")
        loose = sorted(self.records_dir.glob("*.json"))
        try:
            write_packed(self.packed_path, records)
            if read_files([self.packed_path])[0] != sorted(records, key=lambda record: record.cell.slug):
                raise RecordError(f"{self.packed_path} does not read back as what was written. The loose files stay.")
            for path in loose:
                path.unlink()
            if self.records_dir.is_dir() and not any(self.records_dir.iterdir()):
                self.records_dir.rmdir()
        except OSError as error:
            raise RecordError(f"Cannot write {self.packed_path}: {error.strerror}.") from error
        return len(records)


@contextmanager
def sole_writer(run_dir: Path) -> Generator[None]:
    """Keeps a second run out of a folder while one writes there; the system lets go of it when the process ends.

    Two runs at once would compute the same cells, and the configuration of one would replace the other's.

    Raises:
        RecordError: another run is at work there, or the folder cannot be written.
    """
    path = run_dir / LOCK_NAME
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RecordError(
            f"Cannot write to {run_dir}: {error.strerror}. Choose another folder with run_dir=..."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordError(
                f"Another run is writing to {run_dir}. Wait until it ends, or give this run a name of its own with "
                "name=..."
            ) from error
        except OSError:
            pass  # not every file system has locks
        yield
    finally:
        os.close(descriptor)


def write_packed(path: Path, records: Iterable[CellRecord]) -> None:
    """Writes records as compressed JSON Lines, sorted by cell: equal records give equal bytes."""
    lines = [
        json.dumps(record.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        for record in sorted(records, key=lambda record: record.cell.slug)
    ]
    write_atomically(path, gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def read_files(paths: Iterable[Path]) -> tuple[list[CellRecord], list[Refusal]]:
    """Reads record files, packed ones too; what is not a sound record is refused by name, the rest is returned."""
    records: list[CellRecord] = []
    refusals: list[Refusal] = []
    seen: dict[str, Path] = {}
    for path, found in _contents(paths):
        if isinstance(found, str):
            refusals.append(Refusal(path, found))
            continue
        key = digest_of([found.cell.model_dump(mode="json"), found.settings.model_dump(mode="json")])
        if key in seen:
            refusals.append(Refusal(path, f"repeats the cell and settings of {seen[key].name}"))
            continue
        seen[key] = path
        records.append(found)
    return records, refusals


def _contents(paths: Iterable[Path]) -> Iterator[tuple[Path, CellRecord | str]]:
    """Each record of some files, or the reason why it is none."""
    for path in paths:
        try:
            texts = packed_lines(path) if path.name.endswith(".jsonl.gz") else [(path, read_text(path))]
        except RecordError as error:
            yield path, str(error)
            continue
        for place, text in texts:
            try:
                yield place, _parsed(text)
            except RecordError as error:
                yield place, str(error)


def packed_lines(path: Path) -> Sequence[tuple[Path, str]]:
    """The lines of a packed file, each with a name for it.

    Raises:
        RecordError: it cannot be unpacked, or holds nothing.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_UNPACKED + 1)
        if len(content) > MAX_UNPACKED:
            raise RecordError(f"unpacks to more than {MAX_UNPACKED // 2**30} GiB")
        lines = content.decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RecordError(f"cannot be unpacked: {error}") from error
    if not lines:
        raise RecordError("holds nothing")
    return [(path.with_name(f"{path.name}:{number}"), line) for number, line in enumerate(lines, 1)]


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
    return _parsed(read_text(path))


def read_text(path: Path) -> str:
    """The text of a record file.

    Raises:
        RecordError: it is no ordinary file, or cannot be read.
    """
    if not path.is_file():
        # A pipe would never end, a folder cannot be read.
        raise RecordError("is not an ordinary file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot be read: {error}") from error


def _parsed(text: str) -> CellRecord:
    try:
        record = validated(CellRecord, migrated(json_object(text)))
    except MigrationError as error:
        raise RecordError(str(error)) from error
    _check_episodes(record)
    return record


def json_object(text: str) -> Json:
    """The JSON object in a text.

    Raises:
        RecordError: it is truncated, another JSON value, or holds numbers that are not finite.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecordError:
        raise
    except json.JSONDecodeError as error:
        raise RecordError(f"is not whole JSON (line {error.lineno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits and lists nested thousands deep.
        raise RecordError(f"cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RecordError("is not a JSON object")
    return cast("Json", value)


def validated(kind: type[R], value: Json) -> R:
    """The sealed record that a JSON object describes.

    Raises:
        RecordError: it does not follow the schema, or was edited.
    """
    try:
        record = kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"does not follow the schema at {where or 'the top'}: {first['msg']}") from error
    if record.digest != record.content_digest():
        raise RecordError("was changed after it was written (its digest does not match its content)")
    return record


def _refuse_constant(name: str) -> float:
    raise RecordError(f"holds the non-finite number {name}")


def _check_episodes(record: CellRecord) -> None:
    """Each episode once and in order; all that were planned, unless the record says why they are fewer.

    Raises:
        RecordError: they are not.
    """
    planned = 0 if record.failure is not None else record.settings.num_episodes
    indices = [episode.index for episode in record.episodes]
    if record.stopped and record.failure is None:
        if any(second <= first for first, second in pairwise(indices)) or (indices and indices[-1] >= planned):
            raise RecordError(f"does not hold some of episodes 0 to {planned - 1}, each once and in order")
    # Lengths first: a file may claim billions.
    elif len(indices) != planned or indices != list(range(planned)):
        raise RecordError(f"does not hold episodes 0 to {planned - 1}, each once and in order")
