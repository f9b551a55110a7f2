"""A run that is killed again and again ends with the records and policies of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NUM_KILLS = 50

COMMAND = [
    *(sys.executable, "-m", "pvrbench", "run", "preset=quickstart", "tasks=[metaworld/assembly-v3]"),
    *(
        "encoders=[pixels_7,oracle,proprio]",
        "baselines=[]",
        "readouts=[pooled,mean]",
        "num_demos=[1,2,3]",
        "seeds=[0,1,2]",
    ),
    *("num_episodes=10", "demo_pool=4", "horizon=60", "image_px=32", "train.num_updates=200", "engine.num_workers=2"),
]


def start(run_dir: Path, cache: Path) -> subprocess.Popen[bytes]:
    """The run as a process group of its own, so that nothing of it survives the kill."""
    return subprocess.Popen(
        [*COMMAND, f"run_dir={run_dir}"],
        env={**os.environ, "PVRBENCH_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(run_dir: Path) -> dict[str, Any]:
    records = {path.name: json.loads(path.read_text()) for path in sorted((run_dir / "records").glob("*.json"))}
    for record in records.values():
        for key in ("timing", "recorded_at"):
            del record[key]
    # A kill may leave half a file, under a name of its own.
    stored = [path for path in sorted((run_dir / "policies").iterdir()) if path.suffix != ".tmp"]
    policies = {path.name: sha256(path.read_bytes()).hexdigest() for path in stored}
    return {**records, **policies}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert start(tmp_path / "calm", tmp_path / "calm_cache").wait() == 0
    moments = np.random.default_rng(0)
    num_kills, attempts = 0, 0
    while num_kills < NUM_KILLS:
        # A finished run is begun anew, its cache kept, until there were kills enough.
        run_dir = tmp_path / f"killed_{attempts}"
        attempts += 1
        while num_kills < NUM_KILLS:
            process = start(run_dir, tmp_path / "killed_cache")
            try:
                process.wait(timeout=moments.uniform(3.0, 20.0))
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                num_kills += 1
                time.sleep(0.1)
        assert start(run_dir, tmp_path / "killed_cache").wait() == 0
        assert contents(run_dir) == contents(tmp_path / "calm")
