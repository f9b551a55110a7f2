"""Runs on a real Ray cluster of several nodes that are killed: the records are those of an undisturbed run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def on_ray(cluster: Any, *, shared: bool = True) -> list[str]:
    shared_folder = f"cluster.shared_folder={'true' if shared else 'false'}"
    return ["engine.executor=ray", f"cluster.address={cluster.address}", shared_folder]


@pytest.mark.parametrize("shared", [True, False])
def test_tasks_leave_the_records_of_one_machine(
    ray_cluster: Any, runs: Any, calm: dict[str, Any], tmp_path: Path, shared: bool
) -> None:
    runs.finish(runs.start(tmp_path, *on_ray(ray_cluster, shared=shared)), tmp_path)
    assert runs.contents(tmp_path) == calm


def test_a_killed_worker_is_replaced(ray_cluster: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    process = runs.start(tmp_path, *on_ray(ray_cluster))
    runs.kill_worker(tmp_path)
    runs.finish(process, tmp_path)
    assert runs.contents(tmp_path) == calm


def test_jobs_of_a_dead_node_go_to_others(ray_cluster: Any, runs: Any, calm: dict[str, Any], tmp_path: Path) -> None:
    process = runs.start(tmp_path, *on_ray(ray_cluster))
    runs.wait_until(lambda: len(runs.at_work(tmp_path)) > 1, "two jobs at work")
    ray_cluster.kill_node()
    try:
        runs.finish(process, tmp_path)
    finally:
        ray_cluster.add_node()
    assert runs.contents(tmp_path) == calm


def test_the_command_may_be_killed_and_given_again(
    ray_cluster: Any, runs: Any, calm: dict[str, Any], tmp_path: Path
) -> None:
    process = runs.start(tmp_path, *on_ray(ray_cluster))
    runs.wait_until(lambda: len(list((tmp_path / "records").glob("*.json"))) > 3, "some records")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    runs.finish(runs.start(tmp_path, *on_ray(ray_cluster)), tmp_path)
    assert runs.contents(tmp_path) == calm


def test_a_head_that_dies_is_named_and_the_run_goes_on_elsewhere(
    doomed_ray_cluster: Any, ray_cluster: Any, runs: Any, calm: dict[str, Any], tmp_path: Path
) -> None:
    process = runs.start(tmp_path, *on_ray(doomed_ray_cluster))
    runs.wait_until(lambda: runs.at_work(tmp_path), "a job at work")
    doomed_ray_cluster.kill_head()
    assert process.wait(timeout=120) == 2
    (line,) = [text for text in (tmp_path / "log.txt").read_text().splitlines() if text.startswith("error")]
    assert "does not answer any more. Start the cluster again and give the same command again" in line
    doomed_ray_cluster.stop()
    runs.finish(runs.start(tmp_path, *on_ray(ray_cluster)), tmp_path)
    assert runs.contents(tmp_path) == calm


def test_a_folder_that_the_nodes_do_not_see_is_named(ray_cluster: Any, runs: Any, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    ray_cluster.restart_nodes(hidden=tmp_path / "here")
    run_dir = tmp_path / "here" / "run"
    try:
        process = runs.start(run_dir, *on_ray(ray_cluster))
        assert process.wait(timeout=300) == 2
    finally:
        ray_cluster.restart_nodes()
    (line,) = [text for text in (run_dir / "log.txt").read_text().splitlines() if text.startswith("error")]
    assert f"does not see the run's folder {run_dir}" in line


def test_what_no_node_has_is_refused(ray_cluster: Any, runs: Any, tmp_path: Path) -> None:
    process = runs.start(tmp_path, *on_ray(ray_cluster), "cluster.cores=64")
    assert process.wait(timeout=120) == 2
    text = " ".join((tmp_path / "log.txt").read_text().split())
    assert "No node has 64 cores, 0 GPUs and 3072 MiB together; the most are 1 cores" in text


def test_a_cluster_that_is_not_there_is_named(runs: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = runs.start(tmp_path, "engine.executor=ray", "cluster.address=127.0.0.1:1")
    assert process.wait(timeout=120) == 2
    assert "There is no Ray cluster at cluster.address=127.0.0.1:1" in (tmp_path / "log.txt").read_text()


def test_a_cluster_with_another_token_is_named(ray_cluster: Any, runs: Any, tmp_path: Path) -> None:
    process = runs.start(tmp_path, *on_ray(ray_cluster), env={"RAY_AUTH_TOKEN": "0" * 64})
    assert process.wait(timeout=200) == 2
    (line,) = [text for text in (tmp_path / "log.txt").read_text().splitlines() if text.startswith("error")]
    assert f"What listens at cluster.address={ray_cluster.address} refuses this command" in line
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in line
