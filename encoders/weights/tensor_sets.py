"""The network in a file that holds more than a network: training wrappers, other copies of it, other layouts.

What is looked for is known: the names of a network's tensors. Wherever nearly all of them lie under one prefix, there
is a copy of the network, whatever wraps it (Lightning, DistributedDataParallel, torch.compile, AveragedModel, MoCo,
DINO). Which copy is taken is a rule that is written down here, and the encoder says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pvrbench.encoders.weights.layouts import CHUNKED, CLIP, VIT, Layout, renamed, timm_name
from pvrbench.encoders.weights.location import WeightsError

# A copy of a network may lack a few names, where another code calls them otherwise; timm's filters know those.
_COVERAGE = 0.8
# Copies in the order in which they are taken: what is evaluated in the papers first, averages and momentum copies last.
_PREFERRED = (r"teacher", r"(?:^|\.)model(?:\.|$)", r"(?:^|\.)(?:state_dict|module)(?:\.|$)", r"")
_SECOND = r"(?:^|[._])ema(?:[._]|$)|student|momentum|encoder_k|key_encoder|target"
_LAYOUTS: tuple[Layout, ...] = (VIT, CLIP, CHUNKED)
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.")


@dataclass(frozen=True, slots=True)
class TensorSet:
    """A copy of a network in a file.

    Attributes:
        key: where it lies: the names of the mappings and modules around it, joined by dots.
        tensors: its tensors, without the key.
        others: the keys of other copies.
        names: the names of all tensors in the file, joined with those of the mappings around them.
    """

    key: str
    tensors: Mapping[str, Tensor]
    others: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def network_in(
    content: Mapping[str, Any], path: Path, expected: Mapping[str, Tensor] | None = None, key: str = ""
) -> TensorSet:
    """The copy of a network that is taken from the content of a file.

    Args:
        content: what was read; mappings may be nested.
        path: the file, for errors.
        expected: the tensors of the network; without them the file must hold one set of tensors.
        key: which copy is wanted, where there are several.

    Raises:
        WeightsError: there is no such copy, or there are several that mean different networks.
    """
    flat = flat_tensors(content)
    sets = _copies(flat, expected) if expected else []
    if not sets:
        return _only_set(content, path, key)
    keys = tuple(found.key for found in sets)
    if key:
        chosen = [found for found in sets if key == found.key] or [
            found for found in sets if f".{key}." in f".{found.key}."
        ]
        if len(chosen) != 1:
            raise WeightsError(f"{path} has no single network under key={key}. It holds {_listed(keys)}.")
        return _with_others(chosen[0], keys)
    ranked = sorted(sets, key=lambda found: _rank(found.key))
    best = [found for found in ranked if _rank(found.key) == _rank(ranked[0].key)]
    if len(best) > 1:
        raise WeightsError(
            f"{path} holds {len(sets)} sets of tensors ({', '.join(keys[:4])}); expected one, or one called model or "
            f"state_dict. Say which with key=, for instance file:<path>?model=<architecture>&key={keys[0]}."
        )
    return _with_others(best[0], keys)


def _with_others(found: TensorSet, keys: Sequence[str]) -> TensorSet:
    return TensorSet(found.key, found.tensors, tuple(key for key in keys if key != found.key))


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(key or "one without a key" for key in keys[:6])


def _rank(key: str) -> int:
    if re.search(_PREFERRED[0], key):
        return 0
    if re.search(_SECOND, key):
        return 4
    return next(rank for rank, pattern in enumerate(_PREFERRED[1:], start=1) if re.search(pattern, key))


def flat_tensors(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    """All tensors and arrays in nested mappings, by the joined names."""
    found: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{name}"] = value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            found[f"{prefix}{name}"] = torch.from_numpy(cast("Any", value))
        elif isinstance(value, Mapping):
            found |= flat_tensors(cast("Mapping[Any, Any]", value), f"{prefix}{name}.")
    return found


def _copies(flat: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[TensorSet]:
    needed = {name for name in expected if not name.endswith("num_batches_tracked")}
    filters = {name for name in needed if expected[name].ndim == 4}
    prefixes = _prefixes(flat, needed, filters, None)
    if prefixes:
        sets: list[TensorSet] = []
        for prefix in prefixes:
            inner = tuple(other for other in prefixes if other != prefix and other.startswith(prefix))
            tensors = {
                name.removeprefix(prefix): value
                for name, value in flat.items()
                if name.startswith(prefix) and not (inner and name.startswith(inner))
            }
            sets.append(TensorSet(prefix.rstrip("."), tensors))
        return sets
    for layout in _LAYOUTS:
        prefixes = _prefixes(flat, needed, filters, layout)
        if prefixes:
            return [TensorSet(prefix.rstrip("."), renamed(_under(flat, prefix), layout)) for prefix in prefixes]
    return []


def _under(flat: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}


def _prefixes(flat: Mapping[str, Tensor], needed: set[str], filters: set[str], layout: Layout | None) -> list[str]:
    """The prefixes under which nearly all needed names lie, and all convolutions: a text tower has none."""
    found: dict[str, set[str]] = {}
    for name in flat:
        for start in (0, *(match.end() for match in re.finditer(r"\.", name))):
            target = name[start:] if layout is None else timm_name(name[start:], layout)
            if target is not None and (target := target.partition("#")[0]) in needed:
                found.setdefault(name[:start], set()).add(target)
    return [prefix for prefix, names in found.items() if len(names) >= _COVERAGE * len(needed) and filters <= names]


def _only_set(content: Mapping[str, Any], path: Path, key: str) -> TensorSet:
    """The tensors of a mapping, or of the one mapping in it that holds tensors, without what wraps all of them."""
    chosen = ""
    for name in filter(None, key.split(".")):
        if not isinstance(content.get(name), Mapping):
            raise WeightsError(f"{path} has nothing under key={key}; it holds {_listed(list(content))}.")
        content = cast("Mapping[str, Any]", content[name])
    tensors = _tensors(content)
    if max((value.ndim for value in tensors.values()), default=0) < 2:
        inner = {name: found for name, value in content.items() if (found := _tensors(value))}
        large = {name: found for name, found in inner.items() if any(value.ndim > 1 for value in found.values())}
        inner = large or inner
        chosen = next((name for name in ("model", "state_dict") if name in inner), "")
        if not inner and tensors:
            return TensorSet(key, tensors)
        if len(inner) != 1 and not chosen:
            raise WeightsError(
                f"{path} holds {len(inner)} sets of tensors ({', '.join(list(inner or content)[:4])}); "
                "expected one, or one called model or state_dict."
            )
        chosen = chosen or next(iter(inner))
        tensors = inner[chosen]
    while wrapper := next((word for word in _WRAPPERS if all(name.startswith(word) for name in tensors)), ""):
        tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
    return TensorSet(key or chosen, tensors)


def _tensors(value: object) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    items = cast("Mapping[str, object]", value).items()
    return {name: entry for name, entry in items if isinstance(entry, Tensor) and name != "n_averaged"}
