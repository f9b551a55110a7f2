"""Content-addressed feature cache on disk: verified on read, safe for several writers, limited in size."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


class CacheError(RuntimeError):
    """The cache cannot be written; the text says what to do."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Size of the cache on disk."""

    path: Path
    num_entries: int
    size_bytes: int
    limit_bytes: int


class FeatureCache:
    """Tensors by key, one safetensors file each; a damaged file counts as absent.

    Args:
        root: folder of the cache.
        limit_bytes: `trim` removes what was used longest ago until the rest is no larger.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root = root
        self.limit_bytes = limit_bytes

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, memory-mapped; None where there are none or they are damaged."""
        path = self._path(key)
        tensors = _read(path)
        if tensors is None:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Stores tensors so that a reader sees all of them or none.

        Raises:
            CacheError: the disk is full or the folder cannot be written.
        """
        path = self._path(key)
        content = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        data = save(content, metadata={"sha256": _digest(content)})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except OSError as error:
            raise CacheError(
                f"Cannot write the feature cache {self.root}: {error.strerror}. "
                "Free space with `pvrbench cache clear`, or move it with PVRBENCH_CACHE."
            ) from error

    def trim(self) -> int:
        """Removes entries used longest ago beyond the size limit; returns how many."""
        entries = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in self._files()), reverse=True)
        kept_bytes, removed = 0, 0
        for _, size, path in entries:
            kept_bytes += size
            if kept_bytes > self.limit_bytes:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def info(self) -> CacheInfo:
        """Number and size of the entries."""
        sizes = [path.stat().st_size for path in self._files()]
        return CacheInfo(self.root, len(sizes), sum(sizes), self.limit_bytes)

    def verify(self) -> list[Path]:
        """Reads every entry and returns those that are damaged."""
        return [path for path in self._files() if _read(path) is None]

    def clear(self) -> int:
        """Removes every entry; returns how many."""
        paths = list(self._files())
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def _files(self) -> Iterator[Path]:
        return self.root.glob("??/*.safetensors")

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return tensors if _digest(tensors) == metadata.get("sha256") else None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
