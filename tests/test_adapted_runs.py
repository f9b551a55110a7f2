"""Runs of adapted encoders as a user has them: what is recorded and left out, and what a kill in training leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

COMMAND = [
    *(sys.executable, "-m", "pvrbench", "run", "preset=quickstart", "tasks=[metaworld/assembly-v3]"),
    *("encoders=[zoo_mae,oracle]", "baselines=[]", "adaptations=[frozen,lora]", "readouts=[mean,pooled]"),
    *("num_demos=[1]", "seeds=[0]", "num_episodes=2", "demo_pool=2", "horizon=20", "image_px=112"),
    *("train.batch_size=8", "train.num_updates=60", "engine.num_workers=1", "adaptation_options.lora.rank=4"),
]


def start(run_dir: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, f"run_dir={run_dir}"],
        env={**os.environ, "PVRBENCH_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def lora_records(run_dir: Path) -> list[dict[str, Any]]:
    records = [json.loads(path.read_text()) for path in sorted((run_dir / "records").glob("*.json"))]
    return [record for record in records if record["cell"]["train"]["adaptation"] == "lora"]


def policies(run_dir: Path) -> dict[str, str]:
    files = [path for path in sorted((run_dir / "policies").iterdir()) if path.suffix != ".tmp"]
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_training_that_was_killed_starts_over_and_gives_the_same_policy(tmp_path: Path) -> None:
    calm = start(tmp_path / "calm", tmp_path / "cache")
    said, _ = calm.communicate()
    assert calm.returncode == 0, said
    assert "lora trains a network, and oracle has none; left out." in " ".join(said.split())
    (record,) = lora_records(tmp_path / "calm")
    # A linear layer of I inputs and O outputs has 4 (I + O) trained parameters: qkv, projection and two of the MLP.
    width, depth = 192, 6
    assert record["cost"]["adapted_params"] == depth * 4 * (4 * width + 2 * width + 5 * width + 5 * width)
    assert record["cost"]["flops_per_frame"] > 0
    assert record["timing"]["train_s"] > 0
    assert record["settings"]["adaptation_options"]["rank"] == 4

    killed = start(tmp_path / "killed", tmp_path / "cache")
    assert killed.stdout is not None
    trainings = 0
    for line in killed.stdout:
        trainings += "zoo_mae: training" in line
        if trainings == 2:
            break
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert lora_records(tmp_path / "killed") == []
    resumed = start(tmp_path / "killed", tmp_path / "cache")
    said, _ = resumed.communicate()
    assert resumed.returncode == 0, said
    assert policies(tmp_path / "killed") == policies(tmp_path / "calm")
    (again,) = lora_records(tmp_path / "killed")
    assert again["episodes"] == record["episodes"]
