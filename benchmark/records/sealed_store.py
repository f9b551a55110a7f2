"""Sealed records on disk, of any kind: atomic writing, validated reading, loose files or one packed file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pvrbench.benchmark.records.imagination_schema import ImaginationKey, ImaginationRecord
from pvrbench.benchmark.records.probe_schema import ProbeKey, ProbeRecord
from pvrbench.benchmark.records.store import RecordError, Refusal, json_object, packed_lines, read_text, validated
from pvrbench.common.files import write_atomically

R = TypeVar("R", ProbeRecord, ImaginationRecord)


class SealedStore(Generic[R]):
    """The records of one kind in a run directory; append-only.

    Subclasses say which kind. A record has `pictures`, which the packed file leaves out.

    Args:
        run_dir: the run's folder; records lie in `run_dir/<folder>`, one JSON file each, or packed in
            `run_dir/<folder>.jsonl.gz`, or in both.
    """

    folder: ClassVar[str]
    """Name of the records' folder."""
    what: ClassVar[str]
    """What a record is, for error texts: `record of a probe`."""
    version: ClassVar[int]
    """Version of the schema."""
    kind: ClassVar[type[Any]]
    """Class of the records."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.records_dir = run_dir / self.folder
        self.packed_path = run_dir / f"{self.folder}.jsonl.gz"

    @property
    def exists(self) -> bool:
        """Whether there is a place with records at all."""
        return self.records_dir.is_dir() or self.packed_path.is_file()

    def path_of(self, key: ProbeKey | ImaginationKey) -> Path:
        """Where the record of a key lies or would lie."""
        return self.records_dir / f"{key.slug}.json"

    def write(self, record: R) -> None:
        """Writes a record so that it is there whole or not at all.

        Raises:
            RecordError: the folder cannot be written, or a number is not finite.
        """
        path = self.path_of(record.key)
        try:
            text = json.dumps(record.sealed().model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)
            write_atomically(path, text + "\n")
        except ValueError as error:
            raise RecordError(f"The record {path.name} is not written: {error}.") from error
        except OSError as error:
            raise RecordError(
                f"Cannot write {path}: {error.strerror}. Choose another folder with run_dir=..."
            ) from error

    def read(self) -> tuple[list[R], list[Refusal]]:
        """All sound records, sorted by key, and what was refused."""
        found: dict[str, R] = {}
        refusals: list[Refusal] = []
        for path, text in self._texts():
            try:
                record = self._parsed(text)
            except RecordError as error:
                refusals.append(Refusal(path, str(error)))
                continue
            # A packed record lacks its pictures alone.
            if found.setdefault(record.key.slug, record).digest != record.digest:
                refusals.append(Refusal(path, f"holds other numbers of {record.key.slug}, which is recorded beside it"))
        return [found[slug] for slug in sorted(found)], refusals

    def pack(self) -> int:
        """Puts all records into the packed file, without their pictures; the loose files stay.

        Returns:
            The number of records in the packed file.

        Raises:
            RecordError: a record is not sound, or the file cannot be written.
        """
        records, refusals = self.read()
        if refusals:
            raise RecordError(f"{refusals[0].path} {refusals[0].reason}. Move it away, then pack again.")
        lines = [
            json.dumps(record.model_copy(update={"pictures": ()}).model_dump(mode="json"), sort_keys=True)
            for record in records
        ]
        try:
            content = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
            write_atomically(self.packed_path, content)
        except OSError as error:
            raise RecordError(f"Cannot write {self.packed_path}: {error.strerror}.") from error
        return len(records)

    def _texts(self) -> Iterator[tuple[Path, str | RecordError]]:
        """Each record as text, or why it cannot be read."""
        for path in sorted(self.records_dir.glob("*.json")):
            try:
                yield path, read_text(path)
            except RecordError as error:
                yield path, error
        if self.packed_path.is_file():
            try:
                yield from packed_lines(self.packed_path)
            except RecordError as error:
                yield self.packed_path, error

    def _parsed(self, text: str | RecordError) -> R:
        if isinstance(text, RecordError):
            raise text
        value = json_object(text)
        if value.get("schema_version") != self.version:
            raise RecordError(f"is no {self.what} of schema {self.version}")
        found: Any = validated(self.kind, value)
        return found
