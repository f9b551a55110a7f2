"""What a run finds on this machine: its cores, and the folder that keeps what was computed."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root(configured: str | None) -> Path:
    """Where demonstrations, frames and features are kept: as configured, PVRBENCH_CACHE, or the home folder."""
    given = configured or os.environ.get("PVRBENCH_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "pvrbench"


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
