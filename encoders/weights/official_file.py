"""The file that the authors of a network publish: its digest, and the network's tensors in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from pvrbench.common.reference import resolve
from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.file_format import read
from pvrbench.encoders.weights.location import WeightsError
from pvrbench.encoders.weights.tensor_sets import TensorSet, flat_tensors, network_in

__all__ = ["check_digest", "read", "sha256_of", "tensors_of"]

_CHUNK_BYTES = 1 << 22


def sha256_of(path: Path) -> str:
    """SHA-256 hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_digest(path: Path, spec: EncoderSpec, source: WeightsSource) -> str:
    """The SHA-256 of an official file, compared with the known one where there is one.

    Raises:
        WeightsError: they differ.
    """
    found = sha256_of(path)
    if source.sha256 and found != source.sha256.lower():
        raise WeightsError(
            f"{path} is not the published file of {spec.name!r}: its SHA-256 is {found}, expected {source.sha256}. "
            "It is damaged or another version; get it again from its source."
        )
    return found


def tensors_of(
    path: Path, source: WeightsSource, expected: Mapping[str, Tensor] | None = None, key: str = ""
) -> TensorSet:
    """The network's tensors in an official file, through the source's converter if it names one.

    Args:
        path: the file.
        source: where it is from.
        expected: the tensors of the network, by which its copies in the file are found.
        key: which copy is wanted, where the file holds several.

    Raises:
        WeightsError: the file is damaged, wants to run code, or does not hold the network.
    """
    content = read(path)
    if source.converter is None:
        return replace(network_in(content, path, expected, key), names=tuple(flat_tensors(content)))
    convert = cast("Callable[[Mapping[str, Any]], Mapping[str, Tensor]]", resolve(source.converter))
    try:
        return TensorSet("", convert(content), names=tuple(flat_tensors(content)))
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} cannot be converted by {source.converter} ({type(error).__name__}: {error}); it holds "
            f"{', '.join(list(content)[:4])}. It is not the file that is published at {source.uri}."
        ) from error
