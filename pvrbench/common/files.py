"""Files that are there whole or not at all, with the permissions that the user's `umask` gives."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

PERMISSIONS = "Ask its owner for access, or set PVRBENCH_CACHE to a folder of your own."


def write_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    Args:
        path: the file; its folder is made where it is missing.
        fill: writes the content to the path that it is given.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        # Not `tempfile`: its files are readable by their owner alone, and caches are shared.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        fill(temporary)
        temporary.replace(path)
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
