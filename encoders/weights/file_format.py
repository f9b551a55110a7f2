"""Reading files of tensors without running anything that is in them; other files are named for what they are."""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import re
import types
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor

from pvrbench.encoders.weights.location import WeightsError
from pvrbench.encoders.weights.onnx_file import is_onnx, read_onnx

_HEAD_BYTES = 4096
_REMEDY = "Name a .safetensors, .pt, .pth, .bin, .npz or .onnx file."
_OTHER_FORMATS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (
        lambda head: head.startswith(b"version https://git-lfs"),
        "a Git LFS pointer, which stands for the file; run `git lfs pull` where it was cloned",
    ),
    (lambda head: head.startswith(b"\x89HDF"), f"an HDF5 file (Keras or robomimic), which is not read. {_REMEDY}"),
    (lambda head: head.startswith(b"GGUF"), f"a GGUF file, which is not read. {_REMEDY}"),
    (
        lambda head: head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar",
        "a compressed or tar archive; unpack it and name the file in it",
    ),
    (
        lambda head: head.lstrip().startswith(b"{"),
        "a JSON text, such as the index of a model in several parts; the parts hold the tensors",
    ),
)


def read(path: Path) -> Mapping[str, Any]:
    """The content of a safetensors, npz, ONNX or TorchScript file or of what `torch.save` wrote; of a list its mapping.

    The format is told from the content, not from the name. Pickled files are read with `weights_only=True`: tensors,
    plain containers, and what training scripts keep beside them and which runs nothing (arguments, paths, numpy
    numbers). The code of a TorchScript archive and the graph of an ONNX model are not run.

    Raises:
        WeightsError: the file is absent or damaged, of another format, or wants to run code.
    """
    try:
        head = _checked_head(path)
        loaded = _load(path, head)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except WeightsError:
        raise
    except Exception as error:
        # Bytes that are no checkpoint make torch's unpickler stumble in any way.
        if isinstance(error, OSError) and error.strerror:
            raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
        raise _damaged(path, str(error) or type(error).__name__) from error
    parts = cast("Sequence[object]", loaded if isinstance(loaded, list | tuple) else (loaded,))
    for part in parts:
        if isinstance(part, Mapping):
            return cast("Mapping[str, Any]", part)
    raise WeightsError(f"{path} holds no mapping from names to tensors; it is not a checkpoint.")


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _load(path: Path, head: bytes) -> Any:
    if head[8:9] == b"{":
        return load_file(path)
    if is_onnx(head):
        return read_onnx(path)
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            return _numpy_archive(path)
        if is_torchscript(path):
            return _torchscript(path)
        if not any(name.endswith("data.pkl") for name in names):
            raise WeightsError(f"{path} is a zip archive of {', '.join(names[:3])}, not a checkpoint. {_REMEDY}")
    with torch.serialization.safe_globals(_SAFE):
        return torch.load(path, map_location="cpu", weights_only=True)


def _safe_globals() -> list[Any]:
    """Classes of plain data, under the names by which older and newer Python, numpy and Windows write them."""
    scalar, rebuild = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    numpy = [
        *(
            (found, f"numpy.{core}.multiarray.{cast('Any', found).__name__}")
            for core in ("core", "_core")
            for found in (scalar, rebuild)
        ),
        np.ndarray,
        np.dtype,
        *(kind for name in np.dtypes.__all__ if isinstance(kind := getattr(np.dtypes, name), type)),
    ]
    paths = [
        (kind, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name, kind in (
            ("PosixPath", pathlib.PurePosixPath),
            ("WindowsPath", pathlib.PureWindowsPath),
            ("PurePosixPath", pathlib.PurePosixPath),
            ("PureWindowsPath", pathlib.PureWindowsPath),
        )
    ]
    return [argparse.Namespace, types.SimpleNamespace, *numpy, *paths]


_SAFE = _safe_globals()


def _checked_head(path: Path) -> bytes:
    """The first bytes of a file that may hold tensors."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder. Name the file with the tensors in it.")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    start = head.lstrip()[:100].lower()
    if not head:
        raise WeightsError(f"{path} is not a whole safetensors or PyTorch file: it is empty; get it again.")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(
            f"{path} is not a whole safetensors or PyTorch file: it is a web page saved in its place; get it again "
            "with a browser."
        )
    for matches, meaning in _OTHER_FORMATS:
        if matches(head):
            raise WeightsError(f"{path} is {meaning.rstrip('.')}.")
    return head


def _numpy_archive(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: torch.from_numpy(value) for name, value in arrays.items() if value.dtype.kind in "fiub"}


_STORAGES: Mapping[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _ScriptedModule:
    """Stands for a class of a TorchScript archive; holds its attributes."""


class _TorchscriptUnpickler(pickle.Unpickler):
    """Reads the attributes of a TorchScript archive; every class that it names becomes a bare holder of attributes."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str, /) -> Any:
        """What stands for a class that the archive names.

        Raises:
            pickle.UnpicklingError: it is not one of tensors and modules.
        """
        if module.startswith("__torch__"):
            return _ScriptedModule
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":
            return _listed
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")

    def persistent_load(self, pid: Any, /) -> Tensor:
        """The numbers of a storage."""
        _, dtype, key, _, _ = pid
        content = bytearray(self._archive.read(f"{self._root}/data/{key}"))
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _listed(values: object, *_: object) -> object:
    return values


def _rebuilt(numbers: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return numbers.as_strided(size, stride, offset)


def _torchscript(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of a TorchScript archive, named as its modules are nested."""
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("data.pkl")).removesuffix("/data.pkl")
        module: object = _TorchscriptUnpickler(archive, root).load()
    found = dict(_attributes(module, ""))
    if not found:
        raise WeightsError(f"{path} is a TorchScript archive without parameters. Name a file with the tensors.")
    return found


def _attributes(module: object, prefix: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            found.append((prefix + name, value.detach()))
        elif isinstance(value, _ScriptedModule):
            found += _attributes(value, f"{prefix}{name}.")
    return found


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} is not a whole safetensors or PyTorch file ({(reason.splitlines() or [''])[0][:120]}). It is "
        "truncated, damaged or no checkpoint; get it again."
    )


def _refusal(path: Path, text: str) -> WeightsError:
    wanted = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", text)
    if wanted is None:
        # The bytes are no pickle at all; the text then only advises against our reading it with care.
        return _damaged(path, "no pickle")
    return WeightsError(
        f"{path} is refused: it is a pickle that asks for {wanted[1]}, and loading it would run code from the file. "
        "If you trust where it comes from, load it once in an environment that you can lose, "
        "`torch.save` its tensors alone under the same keys, and import that file."
    )
