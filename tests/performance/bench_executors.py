"""What executors cost: 200 trivial jobs through each, and two Ray workers of one core against two local processes.

Needs what `make test-cluster` installs; starts a Slurm cluster of three nodes and a Ray cluster of two on this machine.
Run as `python tests/performance/bench_executors.py [EXECUTOR...] > results/performance/executors.json`; about half an
hour on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
# Two encoders that read no picture, through ten cameras under ten looks: 200 jobs of one short episode.
TRIVIAL = (
    *("encoders=[oracle,proprio]", f"cameras=[{','.join(CAMERAS)}]", f"looks=[{','.join(LOOKS)}]", "num_demos=[1]"),
    *("demo_pool=1", "num_episodes=1", "horizon=1", "train.num_updates=1", "image_px=32"),
)
# Two jobs of equal size that simulate, render and encode for minutes.
LARGE = (
    *("encoders=[pixels_7,pixels_14]", "num_demos=[5]", "demo_pool=5", "num_episodes=150", "horizon=150"),
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


def seconds_of(settings: Sequence[str], env: Mapping[str, str]) -> float:
    """Wall time of a run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pvrbench", "run", *settings, f"run_dir={folder}/run"]
        started = time.monotonic()
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **env}, check=True, stdout=sys.stderr)
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executors", nargs="*", default=["local", "ray", "slurm"])
    chosen: list[str] = parser.parse_args().executors
    clusters, found = load_clusters(), dict[str, float]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {"PVRBENCH_CACHE": str(folder / "cache")}
        # Demonstrations, and the operating system's cache.
        seconds_of([*COMMON, *TRIVIAL, "cameras=[default]", "looks=[nominal]"], env)
        seconds_of([*COMMON, *LARGE, "num_episodes=4"], env)
        if "local" in chosen:
            found["local_200_jobs_s"] = seconds_of([*COMMON, *TRIVIAL], env)
            found["local_2_processes_s"] = seconds_of([*COMMON, *LARGE, "engine.num_workers=2"], env)
        if "ray" in chosen:
            cluster = clusters.RayCluster(folder, Path(tempfile.mkdtemp(prefix="ray-")))
            cluster.start()
            ray = ["engine.executor=ray", f"cluster.address={cluster.address}"]
            try:
                found["ray_200_jobs_s"] = seconds_of([*COMMON, *TRIVIAL, *ray], env)
                found["ray_200_jobs_apart_s"] = seconds_of(
                    [*COMMON, *TRIVIAL, *ray, "cluster.shared_folder=false"], env
                )
                found["ray_2_workers_s"] = seconds_of([*COMMON, *LARGE, *ray], env)
            finally:
                cluster.stop()
        if "slurm" in chosen:
            slurm = clusters.SlurmCluster(folder / "slurm")
            slurm.start()
            try:
                found["slurm_200_jobs_s"] = seconds_of(
                    [*COMMON, *TRIVIAL, "engine.executor=slurm"], {**env, **slurm.env}
                )
            finally:
                slurm.stop()
    sys.stdout.write(json.dumps({key: round(value, 1) for key, value in found.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
