"""Evaluation on a task without physics: what crashes and errors of one episode cost the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pvrbench.benchmark.catalog import encoders, heads, readouts, tasks
from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.rollout import EpisodeJob, EvaluatedPolicy, Evaluation, EvaluationRule, Outcome, evaluate
from pvrbench.benchmark.engine.simulator import SimulatorPool, SimulatorStartError
from pvrbench.benchmark.records.schema import Episode
from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import load_readout
from pvrbench.envs.spec import TaskSpec
from pvrbench.policies.base import Observation

# Solved after 5 to 7 steps, by the seed. At its third step 666 ends the process, 667 too but only once, 668 raises.
COUNTING = """
import os, time
from pathlib import Path
import numpy as np
from pvrbench.envs.base import StepResult

class Counting:
    seed, steps = -1, 0
    def reset(self, seed):
        self.seed, self.steps = seed, 0
        return self.observe()
    def observe(self):
        state = np.array([self.seed, self.steps], np.float32)
        return {"image": np.zeros((0, 0, 3), np.uint8), "proprio": state, "state": state}
    def step(self, action):
        time.sleep(0.01)
        self.steps += 1
        if self.steps == 3:
            marker = Path(__file__).with_name("crashed")
            if self.seed == 667 and not marker.exists():
                marker.touch()
                os._exit(3)
            if self.seed == 666:
                os._exit(3)
            if self.seed == 668:
                raise ValueError("singular matrix")
        return StepResult(self.observe(), self.steps == 5 + self.seed % 3)
    def close(self):
        pass

class CountingTask:
    def __init__(self, spec):
        self.spec = spec
    def make_env(self, view):
        return Counting()

class DyingTask(CountingTask):
    def make_env(self, view):
        os._exit(11)
"""

RULE = EvaluationRule(horizon=10, last_step=False, history=1, fusion="none")


class _Still:
    """A policy that stands still, for some steps at a time."""

    spec = heads()["mlp"]
    num_params: Mapping[str, int] = {}
    train_log: Mapping[str, object] = {}
    failure: str | None = None
    checkpoints: Mapping[int, Any] = {}
    trained_readout = None

    def __init__(self, chunk: int) -> None:
        self.chunk = chunk

    def start(self, seed: Sequence[int]) -> None:
        """It remembers nothing."""

    def act(self, observation: Observation, states: Sequence[Any]) -> Tensor:  # noqa: ARG002
        return torch.zeros(len(states), self.chunk, 1)

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return {}, {}


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskSpec:
    (tmp_path / "counting_task.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    return replace(tasks()["metaworld/assembly-v3"], entry_point="counting_task:CountingTask")


def pool_of(spec: TaskSpec, num_workers: int = 1, envs_per_worker: int = 4) -> SimulatorPool:
    return SimulatorPool(spec, None, num_workers, envs_per_worker, hang_s=30.0)


def outcomes(
    pool: SimulatorPool,
    seeds: list[int],
    check: Callable[[Outcome], None] = lambda _: None,
    rule: EvaluationRule = RULE,
    chunk: int = 1,
) -> dict[int, Episode]:
    encoder = TileEncoder(load_encoder(encoders()["oracle"]), "cpu", 2, keep_raw=False)
    found: dict[int, Episode] = {}

    def take(outcome: Outcome) -> None:
        check(outcome)
        assert outcome.episode.seed not in found
        found[outcome.episode.seed] = outcome.episode

    jobs = [EpisodeJob(0, index, seed) for index, seed in enumerate(seeds)]
    contender = EvaluatedPolicy(load_readout(readouts()["pooled"]), _Still(chunk), 0)
    evaluate(pool, encoder, Evaluation([contender], jobs, rule), take)
    return found


def assert_solved(found: Mapping[int, Episode], seeds: list[int]) -> None:
    assert {seed: (found[seed].success, found[seed].num_steps) for seed in seeds} == {
        seed: (True, 5 + seed % 3) for seed in seeds
    }


@pytest.mark.parametrize(("num_workers", "envs_per_worker"), [(1, 1), (1, 4), (2, 3)])
def test_an_episode_that_ends_its_process_costs_its_companions_nothing(
    counting: TaskSpec, num_workers: int, envs_per_worker: int
) -> None:
    others = list(range(1, 13))
    with pool_of(counting, num_workers, envs_per_worker) as pool:
        found = outcomes(pool, [*others[:5], 666, *others[5:]])
    assert_solved(found, others)
    assert not found[666].success
    assert found[666].failure == "the simulator process ended with code 3"


def test_an_episode_whose_process_ends_once_is_tried_again(counting: TaskSpec) -> None:
    with pool_of(counting) as pool:
        assert_solved(outcomes(pool, [1, 2, 667, 3]), [1, 2, 667, 3])


def test_an_error_in_a_step_fails_that_episode_alone(counting: TaskSpec) -> None:
    with pool_of(counting) as pool:
        found = outcomes(pool, [1, 2, 668, 3, 4, 5])
    assert_solved(found, [1, 2, 3, 4, 5])
    assert found[668].failure == "ValueError: singular matrix"


@pytest.mark.parametrize("chunk", [2, 4, 50])
def test_a_chunk_of_actions_ends_with_the_success_and_with_the_horizon(counting: TaskSpec, chunk: int) -> None:
    with pool_of(counting) as pool:
        assert_solved(outcomes(pool, [1, 2, 3, 4, 5], chunk=chunk), [1, 2, 3, 4, 5])
        short = outcomes(pool, [1, 2, 3], rule=replace(RULE, horizon=5), chunk=chunk)
        assert {seed: (found.success, found.num_steps) for seed, found in short.items()} == {
            1: (False, 5),
            2: (False, 5),
            3: (True, 5),
        }
        last = outcomes(pool, [1, 2, 3], rule=replace(RULE, horizon=7, last_step=True), chunk=chunk)
        assert {seed: (found.success, found.num_steps) for seed, found in last.items()} == {
            1: (False, 7),
            2: (True, 7),
            3: (False, 7),
        }


def test_what_a_broken_off_evaluation_left_under_way_reaches_no_other(counting: TaskSpec) -> None:
    def full_disk(_outcome: Outcome) -> None:
        raise OSError("no space left")

    with pool_of(counting, 2, 3) as pool:
        with pytest.raises(OSError, match="no space left"):
            outcomes(pool, list(range(100, 112)), full_disk)
        assert_solved(outcomes(pool, list(range(1, 9))), list(range(1, 9)))


def test_a_simulator_that_dies_before_it_has_an_environment_is_no_failed_episode(counting: TaskSpec) -> None:
    dying: Any = replace(counting, entry_point="counting_task:DyingTask")
    with pool_of(dying, 2, 2) as pool, pytest.raises(SimulatorStartError, match="ended with code 11 before it had"):
        outcomes(pool, [1, 2, 3])


class _Watching(_Still):
    """Stands still, and keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__(1)
        self.seen: list[Observation] = []

    def act(self, observation: Observation, states: Sequence[Any]) -> Tensor:
        self.seen.append(observation)
        return super().act(observation, states)


class _Faulty:
    """Hands the state on, but for one seed NaN. Its row says whether it computes anything."""

    digest = ""

    def __init__(self, num_params: int) -> None:
        self.spec = replace(encoders()["oracle"], num_params=num_params)

    def encode(self, inputs: Tensor) -> Features:
        return Features(pooled=torch.where(inputs[:, :1] == 13, torch.nan, inputs))

    def to(self, device: str) -> Any:  # noqa: ARG002
        return self


@pytest.mark.parametrize("num_params", [0, 1])
def test_each_policy_sees_its_own_episodes_alone_and_a_faulty_one_costs_the_others_nothing(
    counting: TaskSpec, num_params: int
) -> None:
    policies = [_Watching(), _Watching(), _Watching()]
    seeds = [[1, 2, 3, 13], [4, 5, 6], [13, 7, 8, 9]]
    jobs = [EpisodeJob(policy, 0, seed) for row in zip_longest(*seeds) for policy, seed in enumerate(row) if seed]
    found: dict[tuple[int, int], Episode] = {}
    readout = load_readout(readouts()["pooled"])
    with pool_of(counting, 2, 3) as pool:
        evaluate(
            pool,
            TileEncoder(_Faulty(num_params), "cpu", 2, keep_raw=False),
            Evaluation([EvaluatedPolicy(readout, policy, 0) for policy in policies], jobs, RULE),
            lambda outcome: found.update({(outcome.contender, outcome.episode.seed): outcome.episode}),
        )
    for index, policy in enumerate(policies):
        own = [seed for seed in seeds[index] if seed != 13]
        assert_solved({seed: found[index, seed] for seed in own}, own)
        shown = torch.cat([observation.features for observation in policy.seen])
        # This task's state and proprioception are the seed and the step.
        assert torch.equal(shown, torch.cat([observation.proprio for observation in policy.seen]))
        assert sorted((int(seed), int(step)) for seed, step in shown) == [
            (seed, step) for seed in own for step in range(5 + seed % 3)
        ]
    assert "NaN" in str(found[0, 13].failure)
    assert "NaN" in str(found[2, 13].failure)
