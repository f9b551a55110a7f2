"""How sure it is that local weights are those of the row: what was compared, and what is only assumed.

Weights of another network with the same shapes load without a complaint: those of MAE as VC-1, those of V-Gen as
V-Dual. Where the authors publish a digest it decides. Elsewhere names, unused tensors and other rows' files are
compared, and what remains an assumption is called one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pvrbench.encoders.rows.caches import EXPECT_DECODER, MARKS, PLACES, PUBLISHED
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.location import WeightsError, file_of, source_of

_MAX_NAMED = 3


def is_published(spec: EncoderSpec, sha256: str, path: Path | None = None) -> bool:
    """Whether a digest is one that is published for a row's weights.

    A digest may be the row's own, one of another format of the same weights, the eight digits in a file's name at its
    source, as PyTorch names files, or the name under which the hub's cache keeps the file.
    """
    source = source_of(spec)
    if source.sha256:
        return sha256 == source.sha256.lower()
    places = (source.uri, *source.mirrors, *PLACES.get(spec.name, ()))
    in_names = {found[1] for place in places if (found := re.search(r"-([0-9a-f]{8})\.pth?$", place)) is not None}
    kept_as = path.resolve().name if path is not None and path.is_symlink() else ""
    return sha256 in PUBLISHED.get(spec.name, ()) or sha256[:8] in in_names or sha256 == kept_as


def check_marks(spec: EncoderSpec, names: Sequence[str], sha256: str, path: Path) -> None:
    """Refuses a file that is known to be another row's.

    Args:
        spec: the row.
        names: names of all tensors in the file.
        sha256: digest of the file.
        path: the file, for the error.

    Raises:
        WeightsError: its digest is published for another row, or it holds tensors that only another row's files have.
    """
    owner = next((row for row, digests in PUBLISHED.items() if sha256 in digests and row != spec.name), None)
    if owner is not None:
        raise WeightsError(f"{path} is the published file of {owner!r}, not of {spec.name!r}. Import it as {owner}.")
    required, foreign = MARKS.get(spec.name, ((), ()))
    ends = {name.rpartition(".")[2] for name in names}
    if absent := [name for name in required if name not in ends]:
        raise WeightsError(f"{path} is not a file of {spec.name!r}: those hold a tensor {absent[0]}, and it has none.")
    if found := [name for name in foreign if name in ends]:
        raise WeightsError(f"{path} is not a file of {spec.name!r}: those hold no tensor {found[0]}, and it has one.")


def description(spec: EncoderSpec, names: Sequence[str], used: Sequence[str], path: Path) -> dict[str, Any]:
    """What an official file was found to hold, for the note beside the weights."""
    rest = [name for name in names if not any(f".{name}".endswith(f".{part}") for part in used)]
    # Where none of the names fit, the file has another layout, and its names say nothing of what was left out.
    unused = sorted({_root(name) for name in rest}) if len(rest) < len(names) else []
    return {
        "file": path.name,
        "num_tensors": len(names),
        "unused": unused[:20],
        "decoder": any("decoder" in name for name in names),
        "named_as": _named_as(spec, path.name),
    }


def _root(name: str) -> str:
    parts = [part for part in name.split(".") if part not in {"model", "state_dict", "module"}]
    return parts[0] if parts else name


def _named_as(spec: EncoderSpec, name: str) -> str | None:
    """The row whose published file has this name, if it is another one."""
    rows = [row for row, places in PLACES.items() if any(re.split(r"[/:]", place)[-1] == name for place in places)]
    return rows[0] if len(rows) == 1 and rows[0] != spec.name else None


def doubt(spec: EncoderSpec, note: dict[str, Any]) -> str:
    """What is only assumed of weights with a note; empty where their digest is the published one.

    Args:
        spec: the row.
        note: the note beside the weights.
    """
    if note.get("verified"):
        return ""
    source = source_of(spec)
    if file_of(source) is not None:
        return "a file of your own, which is compared with nothing"
    held: dict[str, Any] = note.get("holds") or {}
    came = f"imported from {held.get('file', 'a file')}" if note.get("imported") else "taken from its source"
    parts = [f"no published digest to compare with; {came}, assumed to be the file at {source.uri}"]
    if held.get("named_as"):
        parts.append(f"that name is of the file of {held['named_as']}")
    if held and spec.name in EXPECT_DECODER and not held["decoder"]:
        parts.append("it holds no decoder, which the authors' loader expects in theirs")
    if alike := look_alikes(spec):
        parts.append(f"files of {', '.join(alike[:_MAX_NAMED])} would fit as well")
    return "; ".join(parts)


def look_alikes(spec: EncoderSpec) -> list[str]:
    """Other rows whose weights have the same names and shapes."""
    from pvrbench.encoders.catalog import ENCODERS

    def shape(row: EncoderSpec) -> tuple[object, ...]:
        return row.entry_point, row.num_params, row.feature_dim, row.grid_side, row.outputs, row.options.get("frames")

    return [
        row.name
        for row in ENCODERS.values()
        if row.weights is not None and row.name != spec.name and shape(row) == shape(spec)
    ]
