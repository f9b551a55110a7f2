"""Rounds over all contenders of a run, with made-up outcomes: what is asked for, kept, recorded and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.ranking import conclusions, ranking_json
from pvrbench.benchmark.analysis.statistics import analyse
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import ConfigError
from pvrbench.benchmark.engine.context import RunContext, open_context
from pvrbench.benchmark.engine.job import JobResult
from pvrbench.benchmark.engine.listener import LogListener
from pvrbench.benchmark.engine.rounds import run_rounds
from pvrbench.benchmark.engine.runner import fit_to_machine
from pvrbench.benchmark.plan import Job, Plan, make_plan
from pvrbench.benchmark.records.parts import UNFINISHED
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordError, RecordStore
from pvrbench.benchmark.reporting.report import write_report

MakeRecord = Callable[..., CellRecord]

RATES = {"pixels_14": 0.95, "pixels_7": 0.2, "random_resnet18": 0.25, "oracle": 1.0}


def plan_of(*overrides: str) -> Plan:
    return make_plan(
        compose_config(
            [
                *("preset=quickstart", f"encoders=[{','.join(RATES)}]", "baselines=[]", "readouts=[pooled]"),
                *("num_demos=[5]", "seeds=[0,1]", "num_episodes=100", "episode_schedule=sequential", *overrides),
            ]
        )
    )


def context_of(plan: Plan, run_dir: Path) -> RunContext:
    return open_context(fit_to_machine(plan.config), run_dir, run_dir / "cache", LogListener(), run_dir, {})


class MadeUp:
    """Does jobs without a simulator; an episode's outcome depends on its cell and state alone."""

    def __init__(self, context: RunContext, make_record: MakeRecord, *, fails_after: int | None = None) -> None:
        self.context, self.make_record, self.left = context, make_record, fails_after
        self.num_episodes = 0

    def __call__(self, jobs: Sequence[Job]) -> JobResult:
        done = JobResult()
        for job in jobs:
            assert job.episodes is not None
            for cell in job.cells:
                if self.left == 0:
                    return done + JobResult(errors={job.name: "the machine was switched off"})
                self.left = None if self.left is None else self.left - 1
                wins = np.random.default_rng(int(cell.key, 16)).uniform(size=100) < RATES[cell.encoder]
                indices = job.episodes[cell]
                self.num_episodes += len(indices)
                is_whole = len(indices) == 100
                record = self.make_record(
                    job, cell, {index: bool(wins[index]) for index in indices}, None, "" if is_whole else UNFINISHED
                )
                (self.context.records if is_whole else self.context.parts).write(record)
                done += JobResult(num_recorded=int(is_whole))
        return done


def recorded(run_dir: Path) -> dict[str, object]:
    return {path.name: json.loads(path.read_text()) for path in sorted((run_dir / "records").glob("*.json"))}


def test_contenders_end_when_their_comparisons_are_decided(tmp_path: Path, make_record: MakeRecord) -> None:
    plan = plan_of()
    context = context_of(plan, tmp_path)
    work = MadeUp(context, make_record)
    result = run_rounds(plan, plan.jobs, context, work)
    assert result.num_recorded == len(plan.cells)
    records = RecordStore(tmp_path).read()[0]
    lengths = {record.cell.encoder: len(record.episodes) for record in records}
    # The reference bounds the scale and has all states; the clear winner ends long before.
    assert lengths["oracle"] == 100
    assert lengths["pixels_14"] <= 60
    assert work.num_episodes == sum(len(record.episodes) for record in records)
    for record in records:
        assert (len(record.episodes) < 100) == record.stopped.startswith("sequential: all comparisons")
    assert not (tmp_path / "rounds").exists()
    # Asked again, nothing is left to do.
    assert run_rounds(plan, plan.jobs, context, work) == JobResult()


@pytest.mark.parametrize("fails_after", [3, 12])
def test_an_interrupted_run_ends_with_the_records_of_an_undisturbed_one(
    tmp_path: Path, make_record: MakeRecord, fails_after: int
) -> None:
    plan = plan_of()
    for name, limit in (("calm", None), ("disturbed", fails_after)):
        context = context_of(plan, tmp_path / name)
        result = run_rounds(plan, plan.jobs, context, MadeUp(context, make_record, fails_after=limit))
        assert bool(result.errors) == (limit is not None)
    assert (tmp_path / "disturbed" / "rounds").is_dir()
    context = context_of(plan, tmp_path / "disturbed")
    assert not run_rounds(plan, plan.jobs, context, MadeUp(context, make_record)).errors
    assert recorded(tmp_path / "disturbed") == recorded(tmp_path / "calm")


def test_a_run_that_goes_on_can_be_ranked_at_any_time(tmp_path: Path, make_record: MakeRecord) -> None:
    plan = plan_of()
    context = context_of(plan, tmp_path)
    assert run_rounds(plan, plan.jobs, context, MadeUp(context, make_record, fails_after=30)).errors
    records, warnings = load_runs([tmp_path])
    assert "goes on" in " ".join(warnings)
    assert len(records) == len(plan.cells)
    assert any(item.is_significant for item in analyse(records).comparisons)


def test_the_report_says_what_a_sequential_run_claims(tmp_path: Path, make_record: MakeRecord) -> None:
    plan = plan_of("seeds=[0]")
    context = context_of(plan, tmp_path)
    run_rounds(plan, plan.jobs, context, MadeUp(context, make_record))
    analysis = analyse(load_runs([tmp_path])[0])
    # Ranks are about these training runs, so that one seed is enough for them.
    assert {item.best_rank for item in analysis.ranking if item.contender.encoder == "pixels_14"} == {1}
    assert "about these trained policies (1 training seed of" in analysis.warnings[0]
    assert "e-Holm" in " ".join(conclusions(analysis))
    assert "NaN" not in json.dumps(ranking_json(analysis, analysis.warnings))
    write_report([tmp_path], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    for words in ("95 % confidence sequences", "p, e-Holm", "these trained policies"):
        assert words in text


def test_nobody_joins_contenders_that_ended_early(tmp_path: Path, make_record: MakeRecord) -> None:
    plan = plan_of()
    context = context_of(plan, tmp_path)
    run_rounds(plan, plan.jobs, context, MadeUp(context, make_record))
    more = plan_of("encoders=[pixels_14,pixels_7,random_resnet18,oracle,proprio]")
    with pytest.raises(RecordError, match=r"was decided without .*proprio.* Give this run a name of its own"):
        run_rounds(more, more.jobs, context, MadeUp(context, make_record))


def test_a_worker_that_leaves_nothing_is_noticed(tmp_path: Path) -> None:
    plan = plan_of()
    with pytest.raises(RecordError, match="Check that every worker sees this folder"):
        run_rounds(plan, plan.jobs, context_of(plan, tmp_path), lambda _: JobResult())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("num_episodes=99", "needs num_episodes=100 or more, and 99 were asked for"),
        ("engine.keep_policies=false", "It needs engine.keep_policies=true"),
        ("checkpoint_evaluations=2", "It needs checkpoint_evaluations=0"),
    ],
)
def test_settings_that_do_not_suit_the_schedule_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_of(override)
