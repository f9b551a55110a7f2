"""What the coordinating process costs: evaluation with environments and an encoder that take no time; prints JSON.

Twelve policies act in lock-step, as in a run: episodes start and end, tiles are filled, policies choose actions.
Answers of environments are there at once, in the same process, and the encoder hands its input on. So all that is left
is the coordinator's own work; messages between processes and physics are not in it.

Two rates are given. `steps_per_s` is by the clock. `steps_per_cpu_s` counts the time in which the process had a core:
other programs on the machine hardly change it.
Run as `python tests/performance/bench_coordinator.py [--rounds N]`.
"""

from __future__ import annotations

import argparse
import json
import select
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from pvrbench.benchmark.catalog import encoders, heads, readouts
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.provenance import processor
from pvrbench.benchmark.engine.rollout import (
    EpisodeJob,
    EvaluatedPolicy,
    Evaluation,
    EvaluationRule,
    Outcome,
    evaluate,
)
from pvrbench.benchmark.engine.simulator import Reply, SimulatorPool
from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import load_readout
from pvrbench.envs.base import Array
from pvrbench.policies.base import TrainJob
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.together import train_heads

NUM_POLICIES, NUM_EPISODES, HORIZON = 12, 25, 20
PROPRIO_DIM, ACTION_DIM = 39, 4
FEATURE_DIMS = (64, 512)
NUM_SLOTS, TILE = 24, 8  # as a run on two cores has them
ROUNDS = 5

SETTINGS = TrainSettings(
    num_updates=1,
    batch_size=32,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)
RULE = EvaluationRule(horizon=HORIZON, last_step=False, history=1, fusion="none")


class NullEncoder:
    """Hands the state on as its features."""

    digest = ""

    def __init__(self) -> None:
        self.spec = encoders()["oracle"]

    def encode(self, inputs: Tensor) -> Features:
        """The inputs."""
        return Features(pooled=inputs)

    def to(self, device: str) -> NullEncoder:
        """The same one."""
        del device
        return self


class NullSimulators:
    """Stands in for a `SimulatorPool`: every command is answered at once, and no episode is ever solved.

    Args:
        feature_dim: width of the states.
    """

    num_slots = NUM_SLOTS

    def __init__(self, feature_dim: int) -> None:
        rng = np.random.default_rng(0)
        self.frames: UInt8[Array, "slots 0 0 3"] = np.zeros((NUM_SLOTS, 0, 0, 3), np.uint8)
        self._resets = [
            Reply(
                slot=slot,
                success=False,
                proprio=rng.standard_normal(PROPRIO_DIM, np.float32),
                state=rng.standard_normal(feature_dim, np.float32),
            )
            for slot in range(NUM_SLOTS)
        ]
        self._steps = [replace(reply, num_steps=1) for reply in self._resets]
        self._answers: list[Reply] = []

    def reset(self, slot: int, seed: int) -> None:
        """Starts an episode."""
        del seed
        self._answers.append(self._resets[slot])

    def step(self, slot: int, actions: Float32[Array, "K A"], *, until_success: bool = True) -> None:
        """Takes the actions for one step."""
        del actions, until_success
        self._answers.append(self._steps[slot])

    def receive(self, signal: int | None = None) -> list[Reply]:
        """The answers; where there are none, waits for the signal."""
        answers, self._answers = self._answers, []
        if not answers and signal is not None:
            select.select([signal], [], [])
        return answers

    def abandon(self) -> None:
        """Drops the answers."""
        self._answers = []


def evaluation_of(feature_dim: int) -> Evaluation:
    """Twelve barely trained policies and their episodes, policy by policy as a run orders them."""
    generator = torch.Generator().manual_seed(0)
    jobs = [
        TrainJob(
            features=torch.randn(64, feature_dim, generator=generator),
            proprio=torch.randn(64, PROPRIO_DIM, generator=generator),
            actions=torch.rand(64, ACTION_DIM, generator=generator) * 2 - 1,
            episodes=torch.zeros(64, dtype=torch.int64),
            seed=seed,
        )
        for seed in range(NUM_POLICIES)
    ]
    readout = load_readout(readouts()["pooled"])
    policies = train_heads(heads()["mlp"], jobs, SETTINGS)
    return Evaluation(
        contenders=[EvaluatedPolicy(readout, policy, seed) for seed, policy in enumerate(policies)],
        jobs=[EpisodeJob(policy, index, index) for policy in range(NUM_POLICIES) for index in range(NUM_EPISODES)],
        rule=RULE,
    )


def measure(feature_dim: int, evaluation: Evaluation) -> dict[str, float]:
    """Policy steps a second of one evaluation, by the clock and by the processor's time."""
    encoder = TileEncoder(NullEncoder(), "cpu", TILE, keep_raw=False)
    steps: list[int] = []

    def take(outcome: Outcome) -> None:
        steps.append(outcome.episode.num_steps)

    simulators = cast("SimulatorPool", NullSimulators(feature_dim))
    start, cpu_start = time.perf_counter(), time.process_time()
    evaluate(simulators, encoder, evaluation, take)
    taken, cpu_taken = time.perf_counter() - start, time.process_time() - cpu_start
    return {"steps_per_s": sum(steps) / taken, "steps_per_cpu_s": sum(steps) / cpu_taken}


def middle(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The medians of several rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for feature_dim in FEATURE_DIMS:
        evaluation = evaluation_of(feature_dim)
        measure(feature_dim, evaluation)  # what is computed once, is
        found[f"{feature_dim} features"] = middle([measure(feature_dim, evaluation) for _ in range(options.rounds)])
    facts = {"hardware": processor(), "policies": NUM_POLICIES, "slots": NUM_SLOTS, "tile": TILE}
    sys.stdout.write(json.dumps({**facts, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
