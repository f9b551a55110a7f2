"""What a run finds on this machine: cores, memory, the folder that keeps what was computed; and the sizes they give."""

from __future__ import annotations

import math
import os
import resource
import sys
from pathlib import Path

from pvrbench.benchmark.config import ConfigError, EngineConfig

# Memory of a simulator process without environments, and of one environment of the larger suite (robosuite).
PROCESS_MIB, ENV_MIB = 1200, 130
# What they take at the very least: more of them than memory holds at this size is a mistake, not a tight fit.
LEAST_PROCESS_MIB, LEAST_ENV_MIB = 250, 8
# Files that a process of ours keeps open, and one that simulates keeps open in the main process.
FILES, FILES_PER_WORKER = 64, 4
# Share of the free memory that simulators may take: encoder, heads and features need the rest.
SIMULATOR_SHARE = 0.6
TILE = {"cpu": 8, "cuda": 32}
# Where a container's own limits stand; the rest of the system knows the host's alone.
LIMITS = Path("/sys/fs/cgroup")


def cache_root(configured: str | None) -> Path:
    """Where demonstrations, frames and features are kept: as configured, PVRBENCH_CACHE, or the home folder.

    Raises:
        ConfigError: there is no home folder.
    """
    given = configured or os.environ.get("PVRBENCH_CACHE")
    try:
        return Path(given).expanduser() if given else Path.home() / ".cache" / "pvrbench"
    except RuntimeError as error:
        raise ConfigError(
            "This user has no home folder for the cache. Set PVRBENCH_CACHE to the full path of a folder."
        ) from error


def check_device(device: str) -> None:
    """Refuses a device that is not there, before any work is done.

    Raises:
        ConfigError: this machine does not have it.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= found:
        have = f"{found} CUDA devices, cuda:0 to cuda:{found - 1}" if found else "no CUDA device that torch can use"
        raise ConfigError(f"engine.device={device!r} is not on this machine: it has {have}. Write engine.device=auto.")


def check_engine(engine: EngineConfig, image_px: int) -> None:
    """Refuses what this machine does not have or cannot hold, before any work is done.

    Args:
        engine: how a run is to use the machine; what is automatic fits.
        image_px: side of the pictures.

    Raises:
        ConfigError: the device is not there, or there are more processes or environments than fit.
    """
    check_device(engine.device)
    check_room(engine, image_px, num_cores(), available_mib(), _most_files())


def check_room(engine: EngineConfig, image_px: int, cores: int, memory_mib: float, most_files: int) -> None:
    """Refuses processes or environments that need more memory or open files than there are.

    Args:
        engine: settings; of two numbers the automatic one is as small as it can be.
        image_px: side of the pictures.
        cores: processor cores.
        memory_mib: memory that is free.
        most_files: files that a process may have open.

    Raises:
        ConfigError: there are too many.
    """
    workers, envs = engine.num_workers or 1, engine.envs_per_worker or 1
    frame_mib = 3 * image_px**2 / 2**20
    needed_mib = workers * (LEAST_PROCESS_MIB + envs * (LEAST_ENV_MIB + frame_mib))
    what = f"engine.num_workers={workers} with {envs} environments each"
    remedy = (
        f"Ask for fewer, or leave engine.num_workers=0 and engine.envs_per_worker=0: they follow the {cores} cores and "
        "the free memory."
    )
    is_automatic = not (engine.num_workers or engine.envs_per_worker)
    if needed_mib > memory_mib and not is_automatic:
        raise ConfigError(
            f"{what} need {needed_mib / 1024:,.0f} GiB of memory at least, and {memory_mib / 1024:.1f} GiB are free. "
            f"{remedy}"
        )
    if (files := FILES + FILES_PER_WORKER * workers) > most_files:
        raise ConfigError(f"{what} need {files} open files, and a process may have {most_files} (ulimit -n). {remedy}")


def _most_files() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def num_cores(limits: Path = LIMITS) -> int:
    """Processor cores that this process may use, by its affinity and the limits of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_words(folder / "cpu.max") for folder in control_groups(limits, "")]
    quotas += [
        [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        for folder in control_groups(limits, "cpu")
    ]
    allowed = [
        int(quota) // int(period) for quota, period in filter(_is_pair, quotas) if quota.isdigit() and period.isdigit()
    ]
    return max(1, min([cores, *allowed]))


def available_mib(limits: Path = LIMITS) -> float:
    """Memory that is free for use, in MiB, in this container if any; infinite where the system does not tell."""
    free_kib = _after("MemAvailable:", _words(Path("/proc/meminfo")))
    free = [math.inf if free_kib is None else free_kib / 1024]
    files = [
        *((folder, "memory.max", "memory.current", "inactive_file") for folder in control_groups(limits, "")),
        *(
            (folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            for folder in control_groups(limits, "memory")
        ),
    ]
    for folder, most_name, used_name, droppable_name in files:
        (most,), (used,) = (_words(folder / name) or [""] for name in (most_name, used_name))
        if most.isdigit() and used.isdigit():
            # Files that were read long ago are dropped when memory is wanted.
            droppable = _after(droppable_name, _words(folder / "memory.stat")) or 0
            free.append((int(most) - int(used) + droppable) / 2**20)
    return min(free)


def control_groups(limits: Path, controller: str, process: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """The folders whose limits hold for this process: its group and the groups around it.

    A container sees its own group as the root; on the host the group is further down.

    Args:
        limits: where the groups are mounted.
        controller: `cpu` or `memory` of cgroup v1, each of which is mounted by itself; empty for cgroup v2.
        process: the file that names the process's groups, `number:controllers:path` a line.
    """
    root = limits / controller
    entries = [line.split(":", 2) for line in _lines(process)]
    inside = next(
        (path for _, names, path in (e for e in entries if len(e) == 3) if controller in names.split(",")), "/"
    )
    own = root / inside.lstrip("/")
    return [folder for folder in (own, *own.parents) if folder.is_relative_to(root) and folder.is_dir()]


def _is_pair(words: list[str]) -> bool:
    return len(words) == 2


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


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
