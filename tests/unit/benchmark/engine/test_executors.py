"""Executors on clusters without a cluster: what jobs ask for, what is left of them, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pvrbench.benchmark.cluster import ClusterError
from pvrbench.benchmark.commands import worker
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import ConfigError
from pvrbench.benchmark.engine.executors.base import RunSite
from pvrbench.benchmark.engine.executors.cluster import left_of, needs_of, on_node, work
from pvrbench.benchmark.engine.executors.ray import OnRay
from pvrbench.benchmark.engine.executors.script import array_script
from pvrbench.benchmark.engine.executors.slurm import Slurm
from pvrbench.benchmark.engine.listener import LogListener
from pvrbench.benchmark.engine.runner import run_plan
from pvrbench.benchmark.plan import Plan, make_plan
from pvrbench.benchmark.records.parts import UNFINISHED, PartStore
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordError, RecordStore

SETTINGS = ("preset=quickstart", "encoders=[oracle,proprio]", "baselines=[]", "num_demos=[5]", "seeds=[0,1]")


def plan_of(*overrides: str) -> Plan:
    return make_plan(compose_config([*SETTINGS, *overrides]))


def test_jobs_ask_for_what_the_forecast_says_unless_they_are_told() -> None:
    plan = plan_of("cluster.cores=2")
    needs = needs_of(plan.config, plan.jobs)
    assert needs.minutes >= 10
    assert needs.memory_mib > 2 * 1200
    longer = plan_of("cluster.cores=2", "num_episodes=5000")
    assert needs_of(longer.config, longer.jobs).minutes > needs.minutes
    told = plan_of("cluster.minutes=7", "cluster.memory_gib=1.5", "cluster.gpus=2")
    assert needs_of(told.config, told.jobs) == replace(needs, cores=4, gpus=2, memory_mib=1536, minutes=7)


def test_what_is_stored_is_not_done_again(tmp_path: Path, make_record: Callable[..., CellRecord]) -> None:
    plan = plan_of()
    site = RunSite(plan.config, tmp_path)
    job = plan.jobs[0]
    assert left_of(site, plan.jobs) == list(plan.jobs)
    wins = dict.fromkeys(range(plan.config.num_episodes), True)
    RecordStore(tmp_path).write(make_record(job, job.cells[0], wins))
    assert [cell for each in left_of(site, [job]) for cell in each.cells] == list(job.cells[1:])
    # Of a round, the cells whose part is stored.
    second = job.only(job.cells[1:]).round(dict.fromkeys(job.cells, (3, 4)))
    PartStore(tmp_path).write(make_record(second, second.cells[0], {3: True, 4: False}, None, UNFINISHED))
    assert left_of(site, [second]) == []
    assert left_of(site, [second.round(dict.fromkeys(job.cells, (5, 6)))])


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    plan = plan_of()
    with pytest.raises(ClusterError, match=r"does not see the run's folder .*/absent\. Use a folder"):
        work(RunSite(plan.config, tmp_path / "absent"), plan.jobs[0])
    assert not (tmp_path / "absent").exists()


def test_a_node_uses_the_cores_of_one_job() -> None:
    site = RunSite(plan_of("cluster.cores=3").config, Path("run"))
    assert on_node(site).config.engine.num_workers == 3
    told = RunSite(plan_of("cluster.cores=3", "engine.num_workers=5").config, Path("run"))
    assert on_node(told).config.engine.num_workers == 5


def test_the_script_is_bash_and_has_a_task_for_each_job(tmp_path: Path) -> None:
    overrides = [*SETTINGS, "run_dir=my run", "cluster.partition=cpu", "cluster.options={constraint: skylake}"]
    plan = plan_of(*overrides[len(SETTINGS) :])
    text = array_script(plan, overrides, tmp_path)
    (tmp_path / "run.sh").write_text(text)
    assert subprocess.run(["bash", "-n", str(tmp_path / "run.sh")], check=False).returncode == 0
    for line in (f"#SBATCH --array=0-{len(plan.jobs) - 1}", "#SBATCH --partition=cpu", "#SBATCH --constraint=skylake"):
        assert line in text.splitlines()
    assert "'run_dir=my run'" in text


def test_the_preparation_of_a_script_moves_failed_records_and_refuses_another_protocol(
    tmp_path: Path, make_record: Callable[..., CellRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVRBENCH_CACHE", str(tmp_path / "cache"))
    run_dir = tmp_path / "run"
    overrides = ["tasks=[metaworld/reach-v3]", "num_demos=[1]", "demo_pool=1", "num_episodes=2", f"run_dir={run_dir}"]
    plan, store = plan_of(*overrides), RecordStore(run_dir)
    solved, failed = plan.jobs[0].cells
    store.write(make_record(plan.jobs[0], solved, {0: True, 1: True}))
    lost = make_record(plan.jobs[0], failed, {}).model_copy(update={"failure": "training diverged"})
    store.write(lost.sealed())
    assert worker.main(["prepare", *SETTINGS, *overrides, "engine.retry_failed=true"]) == 0
    assert not store.path_of(failed).exists()
    assert (run_dir / "failed" / f"{failed.slug}.json").exists()
    assert store.path_of(solved).exists()
    with pytest.raises(RecordError, match=r"holds results under another protocol: .*num_episodes"):
        worker.main(["prepare", *SETTINGS, *overrides, "num_episodes=3"])


def test_a_script_cannot_decide_between_rounds(tmp_path: Path) -> None:
    overrides = ("encoders=[pixels_7,pixels_14]", "num_episodes=100", "episode_schedule=sequential")
    with pytest.raises(ClusterError, match="which a plain script cannot"):
        array_script(plan_of(*overrides), [], tmp_path)
    with pytest.raises(ConfigError, match=r"It needs cluster\.follow=true"):
        plan_of(*overrides, "engine.executor=slurm", "cluster.follow=false")


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ClusterError, match=r"the command sbatch was not found\. Use a login node"):
        Slurm(RunSite(plan_of().config, Path("run")))


def test_slurm_needs_a_shared_folder() -> None:
    with pytest.raises(ClusterError, match=r"cluster.shared_folder=false says that they do not see it"):
        Slurm(RunSite(plan_of("cluster.shared_folder=false").config, Path("run")))


@pytest.mark.parametrize("package", ["ray", "submitit"])
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # its import fails, installed or not
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    make, extra = (OnRay, "ray") if package == "ray" else (Slurm, "slurm")
    with pytest.raises(ClusterError, match=rf"Install it with pip install 'pvrbench\[{extra}\]'"):
        make(RunSite(plan_of().config, Path("run")))


def test_the_machine_that_hands_jobs_in_needs_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    plan = plan_of("engine.executor=slurm", "engine.device=cuda:7")
    with pytest.raises(ClusterError, match="the command sbatch was not found"):
        run_plan(plan, tmp_path, LogListener())
