"""Reading the file that the authors of a network publish, without running anything that is in it."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor

from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.location import WeightsError

_CHUNK_BYTES = 1 << 22
# Names under which training code keeps the network, where a file holds several sets of tensors.
_USUAL_NAMES = ("model", "state_dict")


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


def tensors_of(path: Path, source: WeightsSource) -> Mapping[str, Tensor]:
    """The network's tensors in an official file, through the source's converter if it names one.

    Raises:
        WeightsError: the file is damaged, wants to run code, or does not hold one set of tensors.
    """
    content = read(path)
    if source.converter is None:
        return _network_in(content, path)
    convert = cast("Callable[[Mapping[str, Any]], Mapping[str, Tensor]]", pkgutil.resolve_name(source.converter))
    try:
        return convert(content)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} cannot be converted by {source.converter} ({type(error).__name__}: {error}); it holds "
            f"{', '.join(list(content)[:4])}. It is not the file that is published at {source.uri}."
        ) from error


def read(path: Path) -> Mapping[str, Any]:
    """The content of a safetensors file or of what `torch.save` wrote; of a sequence its first mapping.

    The format is told from the first bytes, not from the name. Pickled files are read with `weights_only=True`:
    tensors and plain containers, and `argparse.Namespace`, which many keep their arguments in and which runs nothing.

    Raises:
        WeightsError: the file is absent or damaged, or wants to run code.
    """
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        if is_safetensors:
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except Exception as error:
        # Bytes that are no checkpoint make torch's unpickler stumble in any way.
        if isinstance(error, OSError) and error.strerror:
            raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
        raise _damaged(path, error) from error
    parts = cast("Sequence[object]", loaded if isinstance(loaded, list | tuple) else (loaded,))
    for part in parts:
        if isinstance(part, Mapping):
            return cast("Mapping[str, Any]", part)
    raise WeightsError(f"{path} holds no mapping from names to tensors; it is not a checkpoint.")


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return WeightsError(
        f"{path} is not a whole safetensors or PyTorch file ({reason[:120]}). It is truncated or damaged, or a web "
        "page saved in its place; get it again."
    )


def _refusal(path: Path, text: str) -> WeightsError:
    wanted = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", text)
    if wanted is None:
        # The bytes are no pickle at all; the text then only advises against our reading it with care.
        return _damaged(path, ValueError("no pickle"))
    return WeightsError(
        f"{path} is refused: it is a pickle that asks for {wanted[1]}, and loading it would run code from the file. "
        "If you trust where it comes from, load it once in an environment that you can lose, "
        "`torch.save` its tensors alone under the same keys, and import that file."
    )


def _network_in(content: Mapping[str, Any], path: Path) -> Mapping[str, Tensor]:
    """The tensors of a mapping, or of the one mapping in it that holds tensors."""
    tensors = _tensors(content)
    if not tensors:
        inner = {name: found for name, value in content.items() if (found := _tensors(value))}
        chosen = next((name for name in _USUAL_NAMES if name in inner), None)
        if len(inner) != 1 and chosen is None:
            raise WeightsError(
                f"{path} holds {len(inner)} sets of tensors ({', '.join(list(inner or content)[:4])}); "
                "expected one, or one called model or state_dict."
            )
        tensors = inner[chosen] if chosen else next(iter(inner.values()))
    if all(name.startswith("module.") for name in tensors):
        # A network wrapped for several GPUs.
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _tensors(value: object) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    items = cast("Mapping[str, object]", value).items()
    return {name: entry for name, entry in items if isinstance(entry, Tensor)}
