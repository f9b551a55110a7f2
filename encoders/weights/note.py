"""The note beside local weights, which says where they are from; and models that are a folder of files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pvrbench.common.files import write_atomically
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.caches import hub_files
from pvrbench.encoders.weights.download import hub_file
from pvrbench.encoders.weights.location import (
    AbsentWeightsError,
    WeightsError,
    local_path,
    missing_files,
    source_of,
)


def note_path(weights: Path) -> Path:
    """Where the note of a local file or folder lies."""
    return weights / "weights.json" if weights.is_dir() else weights.with_suffix(".json")


def read_note(weights: Path) -> dict[str, Any]:
    """The note of a local file or folder; empty where there is none that can be read."""
    try:
        return cast("dict[str, Any]", json.loads(note_path(weights).read_text()))
    except (OSError, ValueError):
        return {}


def write_note(weights: Path, note: Mapping[str, Any]) -> None:
    """Writes the note of a local file or folder, whole or not at all."""
    write_atomically(note_path(weights), json.dumps(note, indent=1) + "\n")


def make_writable(folder: Path) -> None:
    """Makes a folder for weights.

    Raises:
        WeightsError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WeightsError(
            f"Cannot write weights to {folder}: {error.strerror}. Choose another folder with PVRBENCH_WEIGHTS."
        ) from error


def fetch_folder(spec: EncoderSpec) -> Path:
    """Downloads the needed files of a model that is published as a folder; nothing happens if they are there.

    Raises:
        WeightsError: they cannot be had.
    """
    source, target = source_of(spec), local_path(spec)
    if missing_files(source, target):
        make_writable(target)
        try:
            for name in missing_files(source, target):
                hub_file(hub_files(source.uri)[0], name, source.revision, target)
        except (OSError, WeightsError) as error:
            raise AbsentWeightsError([spec], [str(error).rstrip(".")]) from error
    return _noted(spec, target, is_download=True)


def import_folder(spec: EncoderSpec, given: Path) -> Path:
    """Copies the needed files of a model from a folder.

    Raises:
        WeightsError: some are absent.
    """
    source, target = source_of(spec), local_path(spec)
    absent = missing_files(source, given)
    if absent:
        raise WeightsError(
            f"{given} lacks {', '.join(absent)}. {_variants(given, absent)}"
            f"{spec.name!r} needs {', '.join(source.files)}."
        )
    make_writable(target)
    for name in source.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (given / name).resolve() != (target / name).resolve():
            shutil.copyfile(given / name, target / name)
    return _noted(spec, target, again=True)


def _variants(folder: Path, absent: Sequence[str]) -> str:
    """Files that hold the same network in half precision or as a pickle, where the needed ones are absent."""
    found = [
        str(path.relative_to(folder))
        for name in absent
        if Path(name).suffix == ".safetensors"
        for path in sorted((folder / name).parent.glob(f"{Path(name).stem}*"))
    ]
    if not found:
        return ""
    return (
        f"It holds {', '.join(found[:4])}: variants in half precision (.fp16) or pickles (.bin), which give other "
        "features or run code; fetch the plain safetensors files. "
    )


def changed_files(folder: Path) -> list[str]:
    """The files of a folder that are not as its note says; none where it has no note, as in the hub's cache."""
    from pvrbench.encoders.weights.official_file import sha256_of

    noted: dict[str, str] = read_note(folder).get("files", {})
    return [
        name for name, digest in noted.items() if not (folder / name).is_file() or sha256_of(folder / name) != digest
    ]


def _noted(spec: EncoderSpec, folder: Path, *, again: bool = False, is_download: bool = False) -> Path:
    from pvrbench.encoders.weights.official_file import sha256_of

    source = source_of(spec)
    # Rows that share the folder may have noted other files of it.
    known: dict[str, str] = read_note(folder).get("files", {})
    new = [name for name in source.files if again or name not in known]
    if new:
        note: dict[str, Any] = {
            "source": source.uri,
            "revision": source.revision,
            "licence": spec.licence,
            "non_commercial": spec.non_commercial,
            "imported": not is_download,
            # The hub's client compares what it downloads with what the commit says.
            "verified": is_download and source.revision is not None,
            "files": known | {name: sha256_of(folder / name) for name in new},
        }
        write_note(folder, note)
    return folder
