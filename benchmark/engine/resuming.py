"""What is recorded already under a run, where its inputs may not have changed: for probes and imaginations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.identity import NAMES, changed_inputs, what_changed
from pvrbench.benchmark.records.imagination_schema import ImaginationSettings
from pvrbench.benchmark.records.probe_schema import ProbeSettings
from pvrbench.benchmark.records.schema import Digests
from pvrbench.benchmark.records.sealed_store import SealedStore
from pvrbench.benchmark.records.store import RecordError
from pvrbench.common.files import write_atomically

K = TypeVar("K")


def recorded_before(
    store: SealedStore[Any], planned: Mapping[K, ProbeSettings] | Mapping[K, ImaginationSettings]
) -> dict[K, Any]:
    """The records of planned keys.

    Args:
        store: the run's records.
        planned: settings by key.

    Raises:
        RecordError: a record is not sound, or was made under other settings.
    """
    records, refusals = store.read()
    if refusals:
        raise RecordError(f"{refusals[0].path} {refusals[0].reason}. Move it away to make it again.")
    found = {record.key: record for record in records if record.key in planned}
    for key, record in found.items():
        here: Any = planned[key]
        there = record.settings
        if names := here.differences(there):
            texts = [f"{name} ({there.value(name)} there, {here.value(name)} here)" for name in names]
            raise RecordError(
                f"{store.run_dir} holds {record.key.slug} under other settings: {', '.join(texts)}. "
                "Give this run a name of its own with name=..."
            )
    return found


def refuse_changed_inputs(
    there: Digests, here: Digests, run_dir: Path, only: Collection[str] = tuple(NAMES), **names: str
) -> None:
    """Compares the inputs of a record with today's.

    Args:
        there: digests of the record.
        here: digests of today.
        run_dir: the run, for the error text.
        only: which inputs are compared.
        names: task, encoder and adaptation, for the error text.

    Raises:
        RecordError: an input changed; the text names it and what of it changed.
    """
    for name in (name for name in changed_inputs(there, here) if name in only):
        words = NAMES[name].format_map({"readout": "", "head": "", "look": "", **names})
        raise RecordError(
            f"{words[0].upper()}{words[1:]} changed after {run_dir} was recorded"
            f"{what_changed(name, there, here)}. Results of both must not be mixed: give this run a name of "
            "its own with name=..., or bring the old one back."
        )


def write_config(run_dir: Path, config: BenchmarkConfig) -> None:
    """Writes the configuration beside the records.

    Raises:
        RecordError: the folder cannot be written.
    """
    try:
        write_atomically(run_dir / "config.json", config.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RecordError(
            f"Cannot write to {run_dir}: {error.strerror}. Choose another folder with run_dir=..."
        ) from error
