"""Runs on a real Slurm of several nodes that are killed: the records are those of an undisturbed run of one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ON_SLURM = "engine.executor=slurm"


def test_an_array_leaves_the_records_of_one_machine(
    slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path
) -> None:
    runs.finish(runs.start(tmp_path, ON_SLURM, env=slurm.env), tmp_path)
    assert runs.contents(tmp_path) == calm
    assert "array" in (tmp_path / "log.txt").read_text()


def test_a_killed_worker_is_replaced(slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    process = runs.start(tmp_path, ON_SLURM, env=slurm.env)
    runs.kill_worker(tmp_path)
    runs.finish(process, tmp_path)
    assert runs.contents(tmp_path) == calm
    assert "handed in again" in (tmp_path / "log.txt").read_text()


def test_a_preempted_job_is_queued_again(slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    process = runs.start(tmp_path, ON_SLURM, env=slurm.env)
    runs.wait_until(lambda: runs.at_work(tmp_path), "a job at work")
    (job, *_) = slurm.call("squeue", "-h", "-r", "-t", "running", "-o", "%A").split()
    slurm.call("scontrol", "requeue", job)  # what a cluster does with preempted jobs
    runs.finish(process, tmp_path)
    assert runs.contents(tmp_path) == calm


def test_jobs_of_a_dead_node_go_to_others(slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    process = runs.start(tmp_path, ON_SLURM, env=slurm.env)
    runs.wait_until(lambda: runs.at_work(tmp_path), "a job at work")
    (busy, *_) = slurm.call("squeue", "-h", "-t", "running", "-o", "%N").split()
    slurm.kill_node(busy)
    try:
        runs.finish(process, tmp_path)
    finally:
        slurm.start_node(busy)
    assert runs.contents(tmp_path) == calm


def test_the_controller_of_slurm_may_be_away_for_a_while(
    slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path
) -> None:
    process = runs.start(tmp_path, ON_SLURM, env=slurm.env)
    runs.wait_until(lambda: runs.at_work(tmp_path), "a job at work")
    slurm.kill_controller()
    try:
        subprocess.run(["sleep", "8"], check=True)
    finally:
        slurm.start_controller()
    runs.finish(process, tmp_path)
    assert runs.contents(tmp_path) == calm


def test_the_command_may_be_killed_and_given_again(slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    process = runs.start(tmp_path, ON_SLURM, env=slurm.env)
    runs.wait_until(lambda: runs.at_work(tmp_path), "a job at work")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The jobs go on meanwhile, and are not done twice.
    runs.finish(runs.start(tmp_path, ON_SLURM, env=slurm.env), tmp_path)
    assert "of an earlier command are in the queue" in (tmp_path / "log.txt").read_text()
    assert runs.contents(tmp_path) == calm


def test_the_plain_script_needs_no_submitit(slurm: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    env = {**os.environ, **slurm.env, "PVRBENCH_CACHE": str(runs.cache), "OMP_NUM_THREADS": "1"}
    run_dir = tmp_path / "run"
    settings = [*runs.settings, f"run_dir={run_dir}"]
    printed = subprocess.run(
        [sys.executable, "-m", "pvrbench", "plan", *settings, "--slurm"], env=env, capture_output=True, check=True
    )
    (tmp_path / "run.sh").write_bytes(printed.stdout)
    subprocess.run(["bash", str(tmp_path / "run.sh")], env=env, check=True, cwd=tmp_path)
    runs.wait_until(lambda: not slurm.call("squeue", "-h"), "the end of the array", 400)
    assert runs.contents(run_dir) == calm
    status = subprocess.run(
        [sys.executable, "-m", "pvrbench", "status", str(run_dir)], env=env, capture_output=True, text=True, check=True
    )
    assert "16 of 16 cells recorded" in status.stdout


def test_a_folder_that_the_nodes_do_not_see_is_named(slurm: Any, runs: Any, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    slurm.restart_nodes(hidden=tmp_path / "here")
    run_dir = tmp_path / "here" / "run"
    try:
        process = runs.start(run_dir, ON_SLURM, env=slurm.env)
        assert process.wait(timeout=300) == 2
    finally:
        slurm.restart_nodes()
    (line,) = [text for text in (run_dir / "log.txt").read_text().splitlines() if text.startswith("error")]
    assert f"The nodes do not see the run's folder {run_dir}. Use a folder that all nodes see" in line
    assert not slurm.call("squeue", "-h")


def test_a_controller_that_is_dead_from_the_start_is_named(slurm: Any, runs: Any, tmp_path: Path) -> None:
    slurm.kill_controller()
    try:
        process = runs.start(tmp_path, ON_SLURM, env=slurm.env)
        assert process.wait(timeout=120) == 2
    finally:
        slurm.start_controller()
        slurm.wait_for_nodes()
    (line,) = [text for text in (tmp_path / "log.txt").read_text().splitlines() if text.startswith("error")]
    assert "Slurm does not answer on this machine" in line


def test_a_partition_that_is_not_there_is_named(slurm: Any, runs: Any, tmp_path: Path) -> None:
    process = runs.start(tmp_path, ON_SLURM, "cluster.partition=gpu", env=slurm.env)
    assert process.wait(timeout=120) == 2
    text = " ".join((tmp_path / "log.txt").read_text().split())
    assert "invalid partition specified: gpu" in text
    assert "The partitions are main: cluster.partition=... chooses one" in text
