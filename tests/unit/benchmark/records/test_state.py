"""How far a run is, from its folder alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.heartbeat import heartbeat
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.state import states_of
from pvrbench.benchmark.records.store import RecordStore


def test_jobs_are_done_under_way_silent_failed_or_missing(
    tmp_path: Path, make_record: Callable[..., CellRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose_config(
        [
            "preset=quickstart",
            "encoders=[oracle,proprio,random_resnet18_64,pixels_7,pixels_14]",
            "baselines=[]",
            "seeds=[0]",
        ]
    )
    plan = make_plan(config.model_copy(update={"tasks": config.tasks[:1]}))
    done, running, silent, failed, missing = plan.jobs
    store = RecordStore(tmp_path)
    for cell in done.cells:
        store.write(make_record(done, cell, dict.fromkeys(range(config.num_episodes), True)))
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / f"{failed.cells[0].slug}.txt").write_text("Traceback\nValueError: no such thing\n")
    (tmp_path / "config.json").write_text(plan.config.model_dump_json())
    with (
        heartbeat(tmp_path, running.cells[-1].slug, running.name),
        heartbeat(tmp_path, silent.cells[0].slug, silent.name),
    ):
        long_ago = time.time() - 900
        os.utime(tmp_path / "running" / f"{silent.cells[0].slug}.json", (long_ago, long_ago))
        states = states_of(tmp_path, [(job.name, job.cells) for job in plan.jobs])
        assert [state.state for state in states] == ["done", "running", "silent", "failed", "missing"]
        assert "no sign of life for 15 min" in states[2].words
        assert states[3].words.startswith("ValueError: no such thing")
        assert main(["status", str(tmp_path)]) == 0
    assert f"{len(done.cells)} of {len(plan.cells)} cells recorded" in capsys.readouterr().out
    # A job that came to its end leaves no sign.
    assert not list((tmp_path / "running").iterdir())
    assert missing.name == states[4].name


def test_a_folder_without_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path / "nowhere")]) == 2
    assert "Give the folder of a run" in capsys.readouterr().err
