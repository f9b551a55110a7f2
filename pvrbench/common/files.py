"""Files that are there whole or not at all, with the permissions that the user's `umask` gives."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

# The disk, the user's share of it, or the longest file is reached.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

PERMISSIONS = "Ask its owner for access, or set PVRBENCH_CACHE to a folder of your own."


def describe_os_error(error: OSError) -> str:
    """What the system refused, of which file, and what to do, in one line."""
    if error.filename is None or error.strerror is None:
        return str(error)
    remedy = " Free space there, or write to another folder." if error.errno in FULL else ""
    return f"{error.filename}: {error.strerror}.{remedy}"


def write_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    Args:
        path: the file; its folder is made where it is missing.
        fill: writes the content to the path that it is given.

    Raises:
        OSError: it cannot be written; its `filename` is that of the file, and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        # Not `tempfile`: its files are readable by their owner alone, and caches are shared.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        fill(temporary)
        temporary.replace(path)
    except OSError as error:
        # The system names no file where a disk is full, else the temporary one.
        if error.filename in (None, str(temporary), temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader sees the old one or the whole new one, and so that it survives a power cut.

    Args:
        path: the file; its folder is made where it is missing.
        content: text, written as UTF-8, or bytes.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())

    write_whole(path, fill)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Keeps other processes out that ask for the same lock; it ends with the process that holds it.

    Args:
        path: what the lock is about. The lock is a file beside it; on network file systems it works where the system
            supports `flock` there, as NFS does.

    Raises:
        OSError: the lock cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
