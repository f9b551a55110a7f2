"""What a run finds on this machine: cores, memory, the folder that keeps what was computed; and the sizes they give."""

from __future__ import annotations

import math
import os
from pathlib import Path

from benchmark.config import EngineConfig

# Memory of a simulator process without environments, and of one environment of the larger suite (robosuite).
PROCESS_MIB, ENV_MIB = 1200, 130
# Share of the free memory that simulators may take: encoder, heads and features need the rest.
SIMULATOR_SHARE = 0.6
TILE = {"cpu": 8, "cuda": 32}


def cache_root(configured: str | None) -> Path:
    """Where demonstrations, frames and features are kept: as configured, PVRBENCH_CACHE, or the home folder."""
    given = configured or os.environ.get("PVRBENCH_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "pvrbench"


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_mib() -> float:
    """Memory that is free for use, in MiB; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:")), math.inf)


def sized(engine: EngineConfig, device: str, cores: int, memory_mib: float) -> EngineConfig:
    """The engine's settings with every automatic one filled in.

    Args:
        engine: settings; what is not automatic stays.
        device: where the encoder runs, `cpu` or a CUDA device.
        cores: processor cores.
        memory_mib: memory that is free.
    """
    is_gpu = device.startswith("cuda")
    tile = engine.tile or TILE["cuda" if is_gpu else "cpu"]
    workers = engine.num_workers or cores
    # One tile simulates while another is encoded; on a processor one for every two cores, see `benchmark.engine.lanes`.
    tiles = 2 if is_gpu else 1 + max(1, workers // 2)
    least = -(-tiles * tile // workers)
    # A tile more, so that no process waits when its neighbour has more of what simulates; where memory is short, none.
    most = least if is_gpu else -(-(tiles + 1) * tile // workers)
    share_mib = SIMULATOR_SHARE * memory_mib
    fitting = most if memory_mib == math.inf else int((share_mib / workers - PROCESS_MIB) / ENV_MIB)
    envs = engine.envs_per_worker or max(least, min(most, fitting))
    if not engine.num_workers and memory_mib < math.inf:
        workers = max(1, min(workers, int(share_mib / (PROCESS_MIB + envs * ENV_MIB))))
    return engine.model_copy(update={"device": device, "tile": tile, "num_workers": workers, "envs_per_worker": envs})
