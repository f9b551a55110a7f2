"""What executors cost: 200 trivial jobs through each, and two Ray workers of one core against two local processes.

Needs what `make test-cluster` installs; starts a Slurm cluster of three nodes and a Ray cluster of two on this machine.
Run as `python tests/performance/bench_executors.py [PART...] > results/performance/executors.json`; about half an hour
on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pvrbench.benchmark.engine.hardware import num_cores
from pvrbench.benchmark.engine.provenance import processor

# In the environment of all processes of this benchmark.
MARK = "PVRBENCH_BENCHMARK"
LOOK_S = 0.5
CLUSTERS = Path(__file__).resolve().parents[1] / "cluster" / "conftest.py"

LOOKS = ["nominal", *(f"light/{kind}@{level}" for kind in ("brighter", "darker", "cast_left") for level in (1, 2, 3))]
CAMERAS = (
    *("left_cap2", "right_cap2", "top_cap2", "corner", "corner2", "corner3", "corner4", "topview"),
    *("behindGripper", "gripperPOV"),
)
COMMON = (
    *("preset=quickstart", "tasks=[metaworld/reach-v3]", "baselines=[]", "readouts=[pooled]", "seeds=[0]"),
    *("engine.videos=false", "cluster.cores=1", "cluster.memory_gib=3"),
)
# Two encoders that read no picture: each camera and look gives two jobs of one short episode.
TRIVIAL = (
    *("encoders=[oracle,proprio]", f"cameras=[{','.join(CAMERAS)}]", "num_demos=[1]"),
    *("demo_pool=1", "num_episodes=1", "horizon=1", "train.num_updates=1", "image_px=32"),
)
# Two jobs of equal size that simulate, render and encode, for about one minute and two.
EPISODES = (100, 250)
LARGE = (
    *("encoders=[pixels_7,pixels_14]", "num_demos=[5]", "demo_pool=5", "horizon=150"),
    *("train.num_updates=200", "image_px=64", "readouts=[mean]"),
)


def load_clusters() -> Any:
    """The clusters of the tests."""
    spec = importlib.util.spec_from_file_location("clusters", CLUSTERS)
    if spec is None or spec.loader is None:
        raise ImportError(CLUSTERS)
    module = importlib.util.module_from_spec(spec)
    sys.modules["clusters"] = module
    spec.loader.exec_module(module)
    return module


class ProcessorTime:
    """Processor time of this benchmark's processes, those of its clusters included, which are no children of a run.

    It is looked up again and again, since a process that has ended tells nothing; what it used after the last look is
    lost.
    """

    def __init__(self, mark: str) -> None:
        self.mark = f"{MARK}={mark}".encode()
        self.ticks: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessorTime:
        self._look()
        self.before = dict(self.ticks)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    @property
    def seconds(self) -> float:
        """Used since the beginning."""
        ticks = sum(number - self.before.get(pid, 0) for pid, number in self.ticks.items())
        return ticks / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if int(folder.name) != os.getpid() and self.mark in (folder / "environ").read_bytes().split(b"\0"):
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    self.ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
            except OSError:
                continue


def cost_of(settings: Sequence[str], env: Mapping[str, str]) -> dict[str, float]:
    """Wall and processor time of a run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, ProcessorTime(os.environ[MARK]) as used:
        command = [sys.executable, "-m", "pvrbench", "run", *settings, f"run_dir={folder}/run"]
        started = time.monotonic()
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **env}, check=True, stdout=sys.stderr)
        wall_s = time.monotonic() - started
    return {"wall_s": wall_s, "processor_s": used.seconds}


def forecast_of(settings: Sequence[str], env: Mapping[str, str]) -> dict[str, float]:
    """What a run is forecast to take on this machine, and its jobs one after another on their cores."""
    command = [sys.executable, "-m", "pvrbench", "plan", *settings, "--json"]
    printed = subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True, text=True).stdout
    plan: dict[str, Any] = json.loads(printed)
    return {"here_s": plan["forecast"]["seconds"], "jobs_s": plan["jobs_forecast"]["seconds"]}


def pairs_of(count: int, episodes: int, env: Mapping[str, str], ray: Sequence[str]) -> list[dict[str, Any]]:
    """Two local processes and two Ray workers in turn, so that what else the machine does meets both alike."""
    found: list[dict[str, Any]] = []
    for _ in range(count):
        load, large = os.getloadavg()[0], [*COMMON, *LARGE, f"num_episodes={episodes}"]
        local = cost_of([*large, "engine.num_workers=2"], env)
        on_ray = cost_of([*large, *ray], env)
        ratios = {f"{key.partition('_')[0]}_ratio": on_ray[key] / local[key] for key in local}
        found.append({"episodes": episodes, "local": local, "ray": on_ray, **ratios, "load_before": load})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["pairs", "local", "ray", "slurm"])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=200, help="trivial jobs, twenty or a multiple of it up to 200")
    arguments = parser.parse_args()
    looks = LOOKS[: arguments.jobs // (2 * len(CAMERAS))]
    trivial = [*COMMON, *TRIVIAL, f"looks=[{','.join(looks)}]"]
    parts: list[str] = arguments.parts
    os.environ[MARK] = secrets.token_hex(8)
    clusters = load_clusters()
    found: dict[str, Any] = {"hardware": processor(), "cores": num_cores(), "jobs": arguments.jobs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {**clusters.RAY_ENV, "PVRBENCH_CACHE": str(folder / "cache")}
        # Demonstrations, and the operating system's cache.
        cost_of([*trivial, "cameras=[default]", "looks=[nominal]"], env)
        if "pairs" in parts:
            cost_of([*COMMON, *LARGE, "num_episodes=4"], env)
        if "local" in parts:
            found["local_jobs"] = cost_of(trivial, env)
        if {"pairs", "ray"} & set(parts):
            cluster = clusters.RayCluster(folder, Path(tempfile.mkdtemp(prefix="ray-")), 30000 + os.getpid() % 10000)
            cluster.start()
            ray = ["engine.executor=ray", f"cluster.address={cluster.address}"]
            try:
                if "pairs" in parts:
                    # Of a machine that has learned nothing yet.
                    new = {**env, "PVRBENCH_CACHE": str(folder / "new")}
                    found["forecast"] = {
                        size: forecast_of([*COMMON, *LARGE, f"num_episodes={size}"], new) for size in EPISODES
                    }
                    found["pairs"] = [pair for size in EPISODES for pair in pairs_of(arguments.pairs, size, env, ray)]
                if "ray" in parts:
                    found["ray_jobs"] = cost_of([*trivial, *ray], env)
                    found["ray_jobs_apart"] = cost_of([*trivial, *ray, "cluster.shared_folder=false"], env)
            finally:
                cluster.stop()
        if "slurm" in parts:
            slurm = clusters.SlurmCluster(folder / "slurm")
            slurm.start()
            try:
                found["slurm_jobs"] = cost_of([*trivial, "engine.executor=slurm"], {**env, **slurm.env})
            finally:
                slurm.stop()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
