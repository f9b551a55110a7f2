"""Heads trained one by one against all together, and acting alike; prints one JSON object of times and ratios.

Twelve heads of the usual size: 384 features and 9 numbers of proprioception in, 4 actions out. `run` is what `pvrbench
run` does: the heads are shared out over one process for each core, and each process trains its share together. `plain`
is the loop that one would write otherwise: a network of `torch.nn`, torch's Adam, all cores, one head after another.
Six heads behind each trainable readout are trained stacked too, which a run does with linear maps alone: others are no
faster for it, and round otherwise in company.
Run as `python tests/performance/bench_heads.py [--updates N] [--cores N]`; machines differ, ratios less so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import cast
from unittest.mock import patch

import torch
from torch import nn

from pvrbench.benchmark.engine.hardware import num_cores
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.provenance import processor
from pvrbench.benchmark.engine.trainers import Trainers
from pvrbench.encoders.readouts.base import load_readout
from pvrbench.encoders.readouts.catalog import READOUTS
from pvrbench.policies.base import Observation, Policy, TrainJob, build_head
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import HeadSpec, TrainSettings
from pvrbench.policies.together import act_together, train_heads
from pvrbench.policies.training.stacked import StackedHead

NUM_HEADS, FEATURE_DIM, PROPRIO_DIM, ACTION_DIM = 12, 384, 9, 4
LENGTHS, EPISODE_LENGTH = (500, 1000, 2500), 100  # transitions of 5, 10 and 25 demonstrations
NUM_ROWS = 96
REPEATS = 3

# Of the trainable readouts: their batches, updates and frames.
READOUT_BATCHES, READOUT_UPDATES, NUM_FRAMES = (32, 128), 10, 300

SETTINGS = TrainSettings(
    num_updates=1,
    batch_size=1,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)


def jobs() -> list[TrainJob]:
    """Made-up demonstrations: time does not depend on what they hold."""
    generator = torch.Generator().manual_seed(0)
    lengths = [LENGTHS[index % len(LENGTHS)] for index in range(NUM_HEADS)]
    return [
        TrainJob(
            features=torch.randn(length, FEATURE_DIM, generator=generator),
            proprio=torch.randn(length, PROPRIO_DIM, generator=generator),
            actions=torch.rand(length, ACTION_DIM, generator=generator) * 2 - 1,
            episodes=torch.arange(length) // EPISODE_LENGTH,
            seed=seed,
        )
        for seed, length in enumerate(lengths)
    ]


def seconds(work: Callable[[], object]) -> float:
    """The shortest of a few runs: what else the machine does only adds."""
    times: list[float] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def train_plainly(spec: HeadSpec, job: TrainJob, settings: TrainSettings) -> None:
    """One head the ordinary way: the same network, loss and number of updates."""
    head = cast("StackedHead", build_head(spec))
    output, widths = head.output, [FEATURE_DIM + PROPRIO_DIM, *head.options.hidden, head.output.width(ACTION_DIM)]
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    inputs = torch.cat([job.features, job.proprio], dim=1)
    inputs = (inputs - inputs.mean(dim=0)) / inputs.std(dim=0)
    for _ in range(settings.num_updates):
        rows = torch.randint(len(inputs), (settings.batch_size,))
        loss = output.loss(network(inputs[rows])[None], job.actions[rows][None]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def measure(name: str, batch_size: int, num_updates: int, trainers: Trainers) -> dict[str, float]:
    """Milliseconds an update and head: alone, together in one process, as a run trains them, and plainly."""
    settings = replace(SETTINGS, batch_size=batch_size, num_updates=num_updates)
    spec, all_jobs = HEADS[name], jobs()
    with one_thread():
        together_s = seconds(lambda: train_heads(spec, all_jobs, settings))
        alone_s = seconds(lambda: [train_heads(spec, [job], settings) for job in all_jobs])
        policies = train_heads(spec, all_jobs, settings)
        index = [row % NUM_HEADS for row in range(NUM_ROWS)]
        observation = Observation(torch.randn(NUM_ROWS, FEATURE_DIM), torch.randn(NUM_ROWS, PROPRIO_DIM))
        states = [policies[policy].start([policy, row]) for row, policy in enumerate(index)]
        act_s = seconds(lambda: act_together(policies, index, observation, states))
    plain_s = seconds(lambda: [train_plainly(spec, job, settings) for job in all_jobs])
    run_s = seconds(lambda: trainers.train(spec, all_jobs, settings))
    per_update = 1000 / (num_updates * NUM_HEADS)
    return {
        "alone_ms_per_update_and_head": round(alone_s * per_update, 4),
        "together_ms_per_update_and_head": round(together_s * per_update, 4),
        "run_ms_per_update_and_head": round(run_s * per_update, 4),
        "plain_ms_per_update_and_head": round(plain_s * per_update, 4),
        "together_speedup": round(alone_s / together_s, 2),
        "run_speedup": round(alone_s / run_s, 2),
        "run_speedup_over_plain": round(plain_s / run_s, 2),
        "act_ms": round(act_s * 1000, 3),
    }


def measure_readout(name: str, batch_size: int, num_updates: int) -> dict[str, object]:
    """Six heads behind a trainable readout of a 7 x 7 grid of 192 channels, one after another and stacked."""
    generator = torch.Generator().manual_seed(0)
    row, budget_dim = (READOUTS["mean"], 128) if name == "projection" else (READOUTS[name], None)
    readout = load_readout(row)
    shape = (192,) if name == "projection" else (192, 7, 7)
    features = torch.randn(NUM_FRAMES, *shape, generator=generator)
    trained = [
        TrainJob(
            features=features,
            proprio=torch.randn(NUM_FRAMES, PROPRIO_DIM, generator=generator),
            actions=torch.rand(NUM_FRAMES, ACTION_DIM, generator=generator) * 2 - 1,
            episodes=torch.arange(NUM_FRAMES) // EPISODE_LENGTH,
            seed=seed,
            trained_readout=readout.fit(features, seed, budget_dim),
        )
        for seed in range(NUM_HEADS // 2)
    ]
    settings = replace(SETTINGS, batch_size=batch_size, num_updates=num_updates)
    found: dict[bool, list[Policy]] = {}
    times: dict[bool, float] = {}
    for stacked in (False, True):
        with one_thread(), patch.object(StackedHead, "_can_be_stacked", return_value=stacked):
            start = time.perf_counter()
            found[stacked] = train_heads(HEADS["mlp"], trained, settings)
            times[stacked] = time.perf_counter() - start
    logs = [[policy.train_log for policy in found[stacked]] for stacked in (False, True)]
    return {"stacked_speedup": round(times[False] / times[True], 2), "same_losses": logs[0] == logs[1]}


def main() -> None:
    """Measures heads of three sizes of work, with the batch of `standard` and with R3M's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--cores", type=int, default=num_cores())
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    results: dict[str, dict[str, float]] = {}
    torch.set_num_threads(options.cores)
    with Trainers(options.cores, "cpu") as trainers:
        for name in ("linear", "mlp", "gmm"):
            for batch_size in (128, 32):
                results[f"{name}, batch {batch_size}"] = measure(name, batch_size, options.updates, trainers)
    readouts = {
        f"{name}, batch {batch_size}": measure_readout(name, batch_size, READOUT_UPDATES)
        for name in ("projection", "spatial_softmax", "attention", "compression", "conv_neck")
        for batch_size in READOUT_BATCHES
    }
    facts = {"hardware": processor(), "cores": options.cores, "num_heads": NUM_HEADS, "num_updates": options.updates}
    sys.stdout.write(json.dumps({**facts, "heads": results, "trainable_readouts": readouts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
