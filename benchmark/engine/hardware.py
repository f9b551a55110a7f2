"""What a run finds on this machine: cores, memory, the folder that keeps what was computed; and the sizes they give."""

from __future__ import annotations

import math
import os
from pathlib import Path

from pvrbench.benchmark.config import ConfigError, EngineConfig

# Memory of a simulator process without environments, and of one environment of the larger suite (robosuite).
PROCESS_MIB, ENV_MIB = 1200, 130
# Share of the free memory that simulators may take: encoder, heads and features need the rest.
SIMULATOR_SHARE = 0.6
TILE = {"cpu": 8, "cuda": 32}
# Where a container's own limits stand (cgroup v2); the rest of the system knows the host's alone.
LIMITS = Path("/sys/fs/cgroup")


def cache_root(configured: str | None) -> Path:
    """Where demonstrations, frames and features are kept: as configured, PVRBENCH_CACHE, or the home folder."""
    given = configured or os.environ.get("PVRBENCH_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "pvrbench"


def check_device(device: str) -> None:
    """Refuses a device that is not there, before any work is done.

    Raises:
        ConfigError: torch does not know it, or this machine does not have it.
    """
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or device == "cpu:0":
        raise ConfigError(f"engine.device={device!r} is not a device. Write auto, cpu, cuda or cuda:<number>.")
    if kind == "cpu":
        return
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= found:
        have = f"{found} CUDA devices, cuda:0 to cuda:{found - 1}" if found else "no CUDA device that torch can use"
        raise ConfigError(f"engine.device={device!r} is not on this machine: it has {have}. Write engine.device=auto.")


def num_cores(limits: Path = LIMITS) -> int:
    """Processor cores that this process may use, by its affinity and the limits of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (*_words(limits / "cpu.max"), "", "")[:2]
    return min(cores, max(1, int(quota) // int(period))) if quota.isdigit() and period.isdigit() else cores


def available_mib(limits: Path = LIMITS) -> float:
    """Memory that is free for use, in MiB, in this container if any; infinite where the system does not tell."""
    free_kib = _after("MemAvailable:", _words(Path("/proc/meminfo")))
    free = math.inf if free_kib is None else free_kib / 1024
    (most,), (used,) = (_words(limits / name) or [""] for name in ("memory.max", "memory.current"))
    if not (most.isdigit() and used.isdigit()):
        return free
    # Files that were read long ago are dropped when memory is wanted.
    droppable = _after("inactive_file", _words(limits / "memory.stat")) or 0
    return min(free, (int(most) - int(used) + droppable) / 2**20)


def _after(name: str, words: list[str]) -> int | None:
    return int(words[words.index(name) + 1]) if name in words else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


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
    # One tile simulates while another is encoded; on a processor one for every two cores, see the module `lanes`.
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
