"""What a whole run costs as it grows: time, peak memory, and what a warm cache saves; prints one JSON object.

Each line is a `pvrbench run` in a process of its own, from an empty run folder. Sizes are doubled one at a time, twice,
so that what every run pays once (imports, environments, the first demonstration) drops out of the growth: 2 is linear.
Run as `python tests/performance/bench_runs.py [--cores N] [--quickstart]`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pvrbench.benchmark.engine.hardware import num_cores
from pvrbench.benchmark.engine.provenance import processor
from pvrbench.benchmark.records.store import RecordStore

BASE = {
    "tasks": "[metaworld/button-press-topdown-v3]",
    "encoders": "[random_resnet18_64]",
    "baselines": "[]",
    "readouts": "[mean]",
    "num_demos": "[2]",
    "demo_pool": "16",
    "seeds": "[0,1]",
    "num_episodes": "16",
    "horizon": "40",
    "image_px": "112",
    "train.num_updates": "300",
    "engine.videos": "false",
}
# One size, twice and four times that.
GROWTH = {
    "episodes": ("num_episodes", ("16", "32", "64")),
    "num_demos": ("num_demos", ("[2]", "[2,4]", "[2,4,8,16]")),
    "seeds": ("seeds", ("[0,1]", "[0,1,2,3]", "[0,1,2,3,4,5,6,7]")),
}
# Cells of one one-step episode and one update: what is left is what the engine itself takes.
EMPTY = {"encoders": "[proprio]", "readouts": "[pooled]", "num_episodes": "1", "horizon": "1", "train.num_updates": "1"}


@dataclass(frozen=True, slots=True)
class Run:
    """Time and memory of one run.

    Attributes:
        seconds: from start to end of the process.
        peak_mib: the most memory of all its processes together at one time, shared pages counted once.
        frames_encoded: demonstration frames that went through an encoder.
    """

    seconds: float
    peak_mib: float
    frames_encoded: int


class Bench:
    """Runs in one temporary folder, which share a cache unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def run(self, changes: Mapping[str, str], *, cache: str = "shared", settings: Mapping[str, str] = BASE) -> Run:
        """One run of the settings with some changed."""
        self.count += 1
        run_dir = self.folder / f"run-{self.count}"
        keys = {**settings, **changes, "run_dir": str(run_dir), "engine.cache_dir": str(self.folder / cache)}
        command = [
            sys.executable,
            "-m",
            "pvrbench.benchmark.cli",
            "run",
            *(f"{key}={value}" for key, value in keys.items()),
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        status = process.wait()
        seconds = time.perf_counter() - start
        watcher.join()
        if status != 0:
            raise SystemExit(f"error: a run ended with status {status}: {' '.join(command)}")
        records, _ = RecordStore(run_dir).read()
        encoded = {record.cell.encoder: record.timing.get("job_frames_encoded", 0) for record in records}
        return Run(seconds, peak[0], int(sum(encoded.values())))


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(_proportional_mib, _family(process.pid))))
        time.sleep(0.5)


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        files = list(Path(f"/proc/{pid}/task").glob("*/children"))
        children = [child for file in files for child in file.read_text().split()]
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _proportional_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def growth(bench: Bench, base: Run) -> dict[str, object]:
    """Cost of each axis at one, two and four times its size."""
    result: dict[str, object] = {}
    for name, (key, sizes) in GROWTH.items():
        runs = [base, *(bench.run({key: size}) for size in sizes[1:])]
        seconds = [run.seconds for run in runs]
        result[name] = {
            "seconds": seconds,
            "last_doubling_over_first": (seconds[2] - seconds[1]) / (seconds[1] - seconds[0]),
            "peak_mib": [run.peak_mib for run in runs],
        }
    return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=num_cores())
    parser.add_argument("--quickstart", action="store_true", help="also the quickstart, for its memory (minutes)")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    result: dict[str, object] = {"hardware": processor(), "cores": options.cores, "settings": BASE}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        everything = {
            "num_demos": "[16]",
            "num_episodes": "1",
            "horizon": "1",
            "encoders": "[random_resnet18_64,pixels_14]",
        }
        cold, warm = bench.run(everything), bench.run(everything)
        result["cache"] = {
            "cold_s": cold.seconds,
            "warm_s": warm.seconds,
            "frames_encoded_cold": cold.frames_encoded,
            "frames_encoded_warm": warm.frames_encoded,
        }
        base = bench.run({})
        result["growth"] = growth(bench, base)
        both = {"encoders": "[random_resnet18_64,pixels_14]"}
        apart = base.seconds + bench.run({"encoders": "[pixels_14]"}).seconds
        result["encoders"] = {"apart_s": apart, "together_s": bench.run(both).seconds}
        one, all_cores = (
            bench.run({"num_episodes": "32", "engine.num_workers": count}) for count in ("1", str(options.cores))
        )
        result["workers"] = {"one_s": one.seconds, f"{options.cores}_s": all_cores.seconds}
        cells = {
            count: bench.run({**EMPTY, "seeds": f"[{','.join(map(str, range(count)))}]"}) for count in (100, 200, 400)
        }
        result["empty_cells"] = {
            "seconds": {count: run.seconds for count, run in cells.items()},
            "ms_per_cell_100_to_200": 10 * (cells[200].seconds - cells[100].seconds),
            "ms_per_cell_200_to_400": 5 * (cells[400].seconds - cells[200].seconds),
        }
        if options.quickstart:
            run = bench.run({}, cache="quickstart", settings={"preset": "quickstart"})
            result["quickstart"] = {"seconds": run.seconds, "peak_mib": run.peak_mib}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
