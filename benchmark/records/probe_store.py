"""Records of probes on disk: atomic writing, validated reading, loose files or one packed file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from pvrbench.benchmark.records.probe_schema import PROBE_SCHEMA_VERSION, ProbeKey, ProbeRecord
from pvrbench.benchmark.records.store import RecordError, Refusal, json_object, packed_lines, read_text, validated
from pvrbench.common.files import write_atomically

PACKED_PROBES = "probes.jsonl.gz"


class ProbeStore:
    """The records of probes of one run directory; append-only.

    Args:
        run_dir: the run's folder; records lie in `run_dir/probes`, one JSON file each, or packed in
            `run_dir/probes.jsonl.gz`, or in both.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.records_dir = run_dir / "probes"
        self.packed_path = run_dir / PACKED_PROBES

    @property
    def exists(self) -> bool:
        """Whether there is a place with records at all."""
        return self.records_dir.is_dir() or self.packed_path.is_file()

    def path_of(self, key: ProbeKey) -> Path:
        """Where the record of a key lies or would lie."""
        return self.records_dir / f"{key.slug}.json"

    def write(self, record: ProbeRecord) -> None:
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

    def read(self) -> tuple[list[ProbeRecord], list[Refusal]]:
        """All sound records, sorted by key, and what was refused."""
        found: dict[str, ProbeRecord] = {}
        refusals: list[Refusal] = []
        for path, text in self._texts():
            try:
                record = _parsed(text)
            except RecordError as error:
                refusals.append(Refusal(path, str(error)))
                continue
            found.setdefault(record.key.slug, record)
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


def _parsed(text: str | RecordError) -> ProbeRecord:
    if isinstance(text, RecordError):
        raise text
    value = json_object(text)
    if value.get("schema_version") != PROBE_SCHEMA_VERSION:
        raise RecordError(f"is no record of a probe of schema {PROBE_SCHEMA_VERSION}")
    return validated(ProbeRecord, value)
