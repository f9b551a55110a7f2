"""Heads trained in several processes are those trained in one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import torch

from pvrbench.benchmark.engine.trainers import Trainers, _own_rows  # pyright: ignore[reportPrivateUsage]
from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import TrainSettings


def _job(seed: int, num_steps: int) -> TrainJob:
    generator = torch.Generator().manual_seed(seed)
    features, proprio = torch.randn(num_steps, 30, generator=generator), torch.randn(num_steps, 4, generator=generator)
    episodes = torch.arange(num_steps) // 10
    actions = torch.tanh(features[:, :4])
    return TrainJob(features=features, proprio=proprio, actions=actions, episodes=episodes, seed=seed)


def test_the_number_of_processes_changes_no_bit() -> None:
    jobs = [_job(seed, 40 + seed) for seed in range(3)]
    settings = TrainSettings(
        num_updates=20,
        batch_size=16,
        learning_rate=1e-3,
        optimizer="adam",
        schedule="cosine",
        input_norm="standard",
        action_norm="none",
        use_proprio=True,
    )
    counts: list[int] = []
    with Trainers(1, "cpu") as one, Trainers(2, "cpu") as two:
        for name in ("mlp", "gmm"):
            alone = one.train(HEADS[name], jobs, settings)
            shared = two.train(HEADS[name], jobs, settings, 0, counts.append)
            for first, second, job in zip(alone, shared, jobs, strict=True):
                assert first.train_log == second.train_log
                observation = Observation(job.features, job.proprio)
                acted = [
                    policy.act(observation, [policy.start([0, row]) for row in range(len(job.features))])
                    for policy in (first, second)
                ]
                assert torch.equal(*acted)
    assert sorted(counts) == [1, 1, 2, 2]


def test_a_process_is_sent_the_rows_that_its_heads_learn_from() -> None:
    table = replace(_job(0, 90), instructions=torch.arange(180.0).reshape(90, 2))
    jobs = [replace(table, rows=rows) for rows in (torch.arange(50, 90), torch.arange(60, 70), torch.arange(50, 55))]
    cut = _own_rows(jobs)
    assert all(len(job.features) == 40 for job in cut)
    assert all(job.features is cut[0].features for job in cut)
    for job, small in zip(jobs, cut, strict=True):
        assert job.rows is not None
        assert small.rows is not None
        for name in ("features", "proprio", "actions", "episodes", "instructions"):
            assert torch.equal(getattr(job, name)[job.rows], getattr(small, name)[small.rows])
    assert _own_rows([table]) == [table]


KILLED = """
import multiprocessing, time, torch
from pvrbench.benchmark.engine.trainers import Trainers
from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import TrainSettings

zeros = torch.zeros(8, 4)
episodes = torch.zeros(8, dtype=torch.int64)
jobs = [TrainJob(features=zeros, proprio=zeros, actions=zeros, episodes=episodes, seed=seed) for seed in range(2)]
settings = TrainSettings(
    num_updates=1, batch_size=4, learning_rate=1e-3, optimizer="adam", schedule="constant",
    input_norm="none", action_norm="none", use_proprio=True,
)
trainers = Trainers(2, "cpu")
trainers.train(HEADS["linear"], jobs, settings)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


def test_no_process_outlives_a_killed_run() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [int(word) for word in process.stdout.readline().split()]
        process.kill()
        try:
            assert len(children) == 2
            # The pipe ends when the last process that may write to it is gone.
            process.communicate(timeout=20)
        finally:
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
