"""Content-addressed feature cache on disk: verified on read, safe for several writers, limited in size."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pvrbench.common.files import PERMISSIONS

# A cache that others own is read, and not written.
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)

# A temporary file that is older is no writer's any more: an entry is written in seconds.
ABANDONED_AFTER_S = 3600


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
        say: hears, once, that features cannot be kept because the folder belongs to others.
    """

    def __init__(self, root: Path, limit_bytes: int, say: Callable[[str], None] = lambda _text: None) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self._say = say
        self._is_ours = True

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, memory-mapped; None where there are none, or they are damaged or cannot be read."""
        path = self._path(key)
        try:
            tensors = _read(path)
        except SafetensorError:
            _remove(path)
            return None
        except OSError:
            return None  # it may be sound: whoever may read it later shall find it
        # Another run may have removed the file by now, and a read-only cache keeps no times.
        with suppress(OSError):
            os.utime(path)
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Stores tensors so that a reader sees all of them or none; stores nothing in a folder that others own.

        Raises:
            CacheError: the disk is full or fails.
        """
        if not self._is_ours:
            return
        path = self._path(key)
        content = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        data = save(content, metadata={"sha256": _digest(content)})
        # Not by `tempfile`, whose files are the owner's alone: others may share the cache.
        temporary = path.with_name(f".{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                # Gone where the cache was cleared just now; the entry would have gone with it.
                with suppress(FileNotFoundError):
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in NOT_OURS:
                self._is_ours = False
                self._say(
                    f"warning: features are computed and not kept: {path.parent} cannot be written ({error.strerror}). "
                    f"{PERMISSIONS}"
                )
                return
            raise CacheError(
                f"Cannot write the feature cache {self.root}: {error.strerror}. "
                "Free space with `pvrbench cache clear`, or move it with PVRBENCH_CACHE."
            ) from error

    def trim(self) -> int:
        """Removes entries used longest ago beyond the size limit, and what killed processes left.

        Returns:
            How many entries were removed.
        """
        limit = time.time() - ABANDONED_AFTER_S
        for written_at, _, path in _look_at(self._temporary_files()):
            if written_at < limit:
                _remove(path)
        kept_bytes, removed = 0, 0
        for _, size, path in sorted(_look_at(self._files()), reverse=True):
            kept_bytes += size
            if kept_bytes > self.limit_bytes:
                removed += _remove(path)
        return removed

    def info(self) -> CacheInfo:
        """Number and size of the entries."""
        sizes = [size for _, size, _ in _look_at(self._files())]
        return CacheInfo(self.root, len(sizes), sum(sizes), self.limit_bytes)

    def verify(self) -> list[Path]:
        """Reads every entry and returns those that are damaged or cannot be read."""
        return [path for path in self._files() if not _is_sound(path)]

    def clear(self) -> int:
        """Removes every entry, and what killed processes left; returns how many entries."""
        for path in self._temporary_files():
            path.unlink(missing_ok=True)
        paths = list(self._files())
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def _files(self) -> Iterator[Path]:
        return self.root.glob("??/*.safetensors")

    def _temporary_files(self) -> Iterator[Path]:
        return self.root.glob("??/.*.tmp")

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"


def _look_at(paths: Iterable[Path]) -> Iterator[tuple[float, int, Path]]:
    """Time of last use, size and path of each file, without those that another run removes meanwhile."""
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        yield found.st_mtime, found.st_size, path


def _remove(path: Path) -> bool:
    """Removes a file; False where it is gone already, or another user's, which must not end a run."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _is_sound(path: Path) -> bool:
    try:
        _read(path)
    except (OSError, SafetensorError):
        return not path.exists()  # one that was removed meanwhile is no complaint
    return True


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        SafetensorError: the content is damaged.
        OSError: there is no such file, or it cannot be read.
    """
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata: dict[str, str] = file.metadata() or {}
    except RuntimeError as error:
        # From torch, which opens the file once more to map it, and cannot where it was removed in between.
        raise OSError(str(error)) from error
    if _digest(tensors) != metadata.get("sha256"):
        raise SafetensorError(f"{path} does not hold what was written.")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
