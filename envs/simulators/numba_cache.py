"""A folder for numba's cache, which robosuite needs at import."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path


def prepare_numba_cache() -> None:
    """Sets NUMBA_CACHE_DIR where numba could write neither beside robosuite nor in the user's home.

    Without it, the import of robosuite fails on a read-only installation without a home folder. The folder is of this
    process alone: numba runs what it finds there, so it must not be one that others may write.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    package = importlib.util.find_spec("robosuite")
    beside = Path(package.origin).parent if package and package.origin else Path("/nonexistent")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")  # noqa: PTH111
    if _is_writable(beside) or _is_writable(home):
        return
    folder = tempfile.mkdtemp(prefix="pvrbench-numba-")
    os.environ["NUMBA_CACHE_DIR"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _is_writable(folder: Path) -> bool:
    """Whether a folder, or the nearest of its parents that exists, may be written."""
    found = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(found, os.W_OK)
