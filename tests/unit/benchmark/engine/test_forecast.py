"""What a plan is said to cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.forecast import (
    Forecast,
    duration,
    forecast,
    forecast_jobs,
    learn,
    learned_factor,
    memory_bytes,
    size,
)
from pvrbench.benchmark.plan import make_plan


def expected(*overrides: str, num_cores: int = 2) -> Forecast:
    return forecast(make_plan(compose_config(["preset=quickstart", *overrides])), num_cores)


def test_the_quickstart_is_said_to_take_minutes() -> None:
    found = expected()
    assert 120 < found.seconds < found.most_seconds < 1200
    assert found.rollout_frames > 10_000


def test_more_work_costs_more() -> None:
    base = expected()
    assert expected("num_episodes=32").seconds > base.seconds
    assert expected("seeds=[0,1]").seconds > base.seconds
    assert expected("render=full").seconds > 2 * base.seconds
    assert expected(num_cores=8).seconds < base.seconds
    assert expected("encoders=[oracle]", "baselines=[]").disk_bytes == 0 < base.disk_bytes


def test_policies_are_counted_once_wherever_they_are_tried() -> None:
    base = expected().policy_bytes
    assert expected("seeds=[0,1]").policy_bytes == 2 * base > 0
    assert expected("looks=[nominal,light/darker@2]").policy_bytes == base
    assert expected("engine.keep_policies=false").policy_bytes == 0
    assert expected("encoders=[expert]", "baselines=[]").policy_bytes == 0


def test_memory_grows_with_simulators_encoders_and_what_is_trained_at_once() -> None:
    def gib(*overrides: str, workers: int = 2) -> float:
        return memory_bytes(make_plan(compose_config(["preset=quickstart", *overrides])), workers, envs=12) / 2**30

    base = gib()
    assert 4.2 < base < 10  # the quickstart was measured with 4.2 GB
    assert gib(workers=4) > base + 4
    assert gib("encoders=[mae_vith14]") > base + 8
    assert gib("train.num_updates=1000000", "train.batch_size=256") > base + 3


def test_sizes_are_told_in_one_number() -> None:
    assert [size(value) for value in (400_000, 3_700_000_000)] == ["0.4 MiB", "3.4 GiB"]


def test_where_the_last_step_counts_every_episode_runs_to_its_end() -> None:
    found = expected("success_rule=last_step")
    assert found.seconds == found.most_seconds
    assert found.rollout_frames > 1.4 * expected().rollout_frames


def test_wide_inputs_take_longer_to_train_on() -> None:
    def seconds(readout: str) -> float:
        return expected("encoders=[zoo_mae]", "baselines=[]", f"readouts=[{readout}]", "train.num_updates=9000").seconds

    assert seconds("grid4") > 1.5 * seconds("mean")


def test_a_machine_learns_its_own_speed(tmp_path: Path) -> None:
    base = expected()
    assert learned_factor(tmp_path) == 1.0
    assert learn(tmp_path, base, 4 * base.seconds) == pytest.approx(2.0)
    assert learned_factor(tmp_path) == pytest.approx(2.0)
    # Nodes of a cluster are other machines.
    assert learn(tmp_path, base, 9 * base.seconds, "slurm") == pytest.approx(3.0)
    assert (learned_factor(tmp_path), learned_factor(tmp_path, "slurm")) == pytest.approx((2.0, 3.0))
    (tmp_path / "speed.json").write_text("{")
    assert learned_factor(tmp_path) == 1.0


def test_a_cache_that_cannot_be_written_costs_no_results(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    base = expected()
    assert learn(tmp_path / "cache", base, 4 * base.seconds) == pytest.approx(2.0)


def test_jobs_side_by_side_take_as_long_as_the_longest_or_as_their_sum_allows() -> None:
    plan = make_plan(compose_config(["preset=quickstart"]))
    found = forecast_jobs(plan, 2)
    assert found.longest_s < found.most_s < found.seconds
    assert found.wall_s(1) == found.seconds
    assert found.wall_s(3) == found.seconds / 3
    assert found.wall_s(10_000) == found.longest_s
    # Each job starts a process of its own.
    assert found.seconds > forecast(plan, 2).seconds
    assert forecast_jobs(plan, 8).longest_s < found.longest_s


def test_durations_are_told_in_one_number() -> None:
    assert [duration(value) for value in (42.3, 720.0, 12600.0)] == ["42 s", "12 min", "3.5 h"]
