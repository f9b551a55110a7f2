"""The engine against the loop that peers use, and against the bound of its own parts; prints one JSON object.

Everything is measured in one run, on the same policies, initial states and pictures. Policies are trained for a few
updates only: how well they do is not the question. Run as `python tests/performance/bench_engine.py [--cores N]`,
or `make bench`, which also keeps the result in `results/performance/`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from pvrbench.benchmark.catalog import encoders, heads, readouts, tasks
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import EngineConfig
from pvrbench.benchmark.engine.context import load_task
from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.hardware import available_mib, num_cores, sized
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.provenance import processor
from pvrbench.benchmark.engine.rollout import (
    EpisodeJob,
    EvaluatedPolicy,
    Evaluation,
    EvaluationRule,
    Outcome,
    evaluate,
)
from pvrbench.benchmark.engine.simulator import SimulatorPool
from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import Readout, load_readout
from pvrbench.envs.base import Task
from pvrbench.envs.demos.collection import collect_demos
from pvrbench.envs.pictures.frames import render_demo
from pvrbench.envs.spec import View
from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.together import train_heads

TASK, ENCODER, READOUT = "metaworld/assembly-v3", "random_resnet18_64", "mean"
HORIZON, NUM_POLICIES, NUM_EPISODES = 60, 12, 4
ROUNDS = 3
SETTINGS = TrainSettings(
    num_updates=50,
    batch_size=64,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="cosine",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)
RULE = EvaluationRule(horizon=HORIZON, last_step=False, history=1, fusion="none")


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def contenders_of(task: Task, encoder: TileEncoder, readout: Readout, view: View, count: int) -> list[EvaluatedPolicy]:
    """Policies that are barely trained, all on the same two demonstrations."""
    env = task.make_env(view)
    with tempfile.TemporaryDirectory() as folder:
        file = collect_demos(task, 2, Path(folder) / "demos.hdf5")
        demos = [file.demo(index) for index in range(2)]
    found = [readout.read(Features(**encoder.encode(render_demo(env, demo)))) for demo in demos]
    env.close()
    jobs = [
        TrainJob(
            features=torch.cat(found),
            proprio=torch.from_numpy(np.concatenate([demo.proprio for demo in demos])),
            actions=torch.from_numpy(np.concatenate([demo.actions for demo in demos])),
            episodes=torch.cat([torch.full((len(part),), index) for index, part in enumerate(found)]),
            seed=seed,
        )
        for seed in range(count)
    ]
    policies = train_heads(heads()["mlp"], jobs, SETTINGS)
    return [EvaluatedPolicy(readout, policy, seed) for seed, policy in enumerate(policies)]


def ours(pool: SimulatorPool, encoder: TileEncoder, contenders: Sequence[EvaluatedPolicy], seeds: Sequence[int]) -> int:
    """All episodes in lock-step; returns the number of control steps."""
    steps: list[int] = []

    def take(outcome: Outcome) -> None:
        steps.append(outcome.episode.num_steps)

    jobs = [EpisodeJob(each, index, seed) for each in range(len(contenders)) for index, seed in enumerate(seeds)]
    evaluate(pool, encoder, Evaluation(contenders, jobs, RULE), take)
    return sum(steps)


def peers(
    task: Task, view: View, encoder: TileEncoder, contenders: Sequence[EvaluatedPolicy], seeds: Sequence[int]
) -> int:
    """One environment, one frame an encoder call, one policy after another; returns the number of control steps."""
    env = task.make_env(view)
    steps = 0
    for contender in contenders:
        for seed in seeds:
            state = contender.policy.start([contender.seed, seed])
            observation = env.reset(seed)
            for _ in range(RULE.horizon):
                features = encoder.encoder.encode(torch.from_numpy(observation["image"][None]))
                proprio = torch.from_numpy(observation["proprio"][None])
                actions = contender.policy.act(Observation(contender.readout.read(features), proprio), [state])
                result = env.step(cast("Any", actions[0, 0].numpy()))
                observation = result.observation
                steps += 1
                if result.success:
                    break
    env.close()
    return steps


def simulation_rate(pool: SimulatorPool, num_episodes: int) -> float:
    """Control steps a second of resets, physics and rendering alone: random actions, every slot busy."""
    rng = np.random.default_rng(0)
    waiting, running = num_episodes, dict.fromkeys(range(min(pool.num_slots, num_episodes)), HORIZON)
    start = time.perf_counter()
    for slot in running:
        waiting -= 1
        pool.reset(slot, waiting)
    while running:
        for reply in pool.receive():
            if running[reply.slot]:
                running[reply.slot] -= 1
                pool.step(reply.slot, rng.uniform(-1, 1, (1, 4)).astype(np.float32), until_success=False)
            elif waiting:
                waiting -= 1
                running[reply.slot] = HORIZON
                pool.reset(reply.slot, waiting)
            else:
                del running[reply.slot]
    return num_episodes * HORIZON / (time.perf_counter() - start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=num_cores())
    parser.add_argument("--envs", type=int, default=0, help="environments in a process; default: as a run chooses")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    torch.set_num_threads(options.cores)
    spec, readout = tasks()[TASK], load_readout(readouts()[READOUT])
    task, view = load_task(spec), View(camera=spec.cameras[0], image_px=112, render="lean")
    # The sizes that a run takes on this machine.
    engine = sized(
        compose_config([f"engine.envs_per_worker={options.envs}"]).engine, "cpu", options.cores, available_mib()
    )
    encoder = TileEncoder(load_encoder(encoders()[ENCODER]), "cpu", engine.tile, keep_raw=False)
    with one_thread():
        contenders = contenders_of(task, encoder, readout, view, 2 * NUM_POLICIES)
    few = contenders[:NUM_POLICIES]
    seeds = list(range(NUM_EPISODES))
    sizes = {"workers": engine.num_workers, "envs_per_worker": engine.envs_per_worker, "tile": engine.tile}
    facts = {"hardware": processor(), "cores": options.cores, **sizes, "task": TASK, "encoder": ENCODER}
    result: dict[str, object] = {**facts}
    with SimulatorPool(spec, view, engine.num_workers, engine.envs_per_worker, engine.hang_s) as pool:
        simulation_rate(pool, pool.num_slots)  # the environments are made
        frames = np.zeros((60 * engine.tile, 112, 112, 3), np.uint8)
        # In turns: what else a shared machine does falls on all parts of a round, and ratios are taken within rounds.
        rounds = [
            {
                "ours_s": seconds(lambda: ours(pool, encoder, few, seeds)),
                "simulation_rate": simulation_rate(pool, NUM_POLICIES * NUM_EPISODES),
                "encoder_rate": len(frames) / seconds(lambda: encoder.encode(frames)),
                "twice_the_episodes_s": seconds(lambda: ours(pool, encoder, few, list(range(2 * NUM_EPISODES)))),
                "twice_the_policies_s": seconds(lambda: ours(pool, encoder, contenders, seeds)),
            }
            for _ in range(ROUNDS)
        ]
        steps = ours(pool, encoder, few, seeds)
        middle = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        start = time.perf_counter()
        peer_steps = peers(task, view, encoder, few[:3], seeds)
        peers_s = (time.perf_counter() - start) * steps / peer_steps
        result["rounds"] = rounds
        result["peer_loop"] = {"ours_s": middle["ours_s"], "peers_s": peers_s, "ratio": peers_s / middle["ours_s"]}
        result["utilisation"] = {
            "steps_per_s": steps / middle["ours_s"],
            "simulation_rate": middle["simulation_rate"],
            "encoder_rate": middle["encoder_rate"],
            "of_bound": statistics.median(
                steps / each["ours_s"] * (1 / each["simulation_rate"] + 1 / each["encoder_rate"]) for each in rounds
            ),
        }
        result["doubling"] = {
            name: statistics.median(each[f"twice_the_{name}_s"] / each["ours_s"] for each in rounds)
            for name in ("episodes", "policies")
        }
    # Each side's own defaults: shadows and 4x MSAA at 224 px and the whole horizon of 500, against lean at 112 px.
    full = replace(view, image_px=224, render="full")
    env = task.make_env(full)
    env.reset(0)

    def step_as_peers() -> None:
        image = env.step(np.zeros(4, np.float32)).observation["image"]
        encoder.encoder.encode(torch.from_numpy(image[None]))

    step_as_peers()
    peer_step_s = seconds(lambda: [step_as_peers() for _ in range(15)]) / 15
    env.close()
    episode_s = middle["ours_s"] / (NUM_POLICIES * NUM_EPISODES)
    result["own_defaults"] = {
        "peer_episode_s": 500 * peer_step_s,
        "ours_s": episode_s,
        "ratio": 500 * peer_step_s / episode_s,
    }
    result["null_encoder"] = {"ms_per_cell": 1000 * overhead_s(len(contenders), engine)}
    sys.stdout.write(json.dumps(result, indent=1, default=str) + "\n")


def overhead_s(num_policies: int, engine: EngineConfig) -> float:
    """Seconds a cell of one one-step episode takes with an encoder that does nothing."""
    spec = tasks()[TASK]
    encoder = TileEncoder(load_encoder(encoders()["proprio"]), "cpu", engine.tile, keep_raw=False)
    jobs = [
        TrainJob(
            features=torch.zeros(40, 0),
            proprio=torch.randn(40, 4),
            actions=torch.zeros(40, 4),
            episodes=torch.zeros(40, dtype=torch.int64),
            seed=seed,
        )
        for seed in range(num_policies)
    ]
    policies = train_heads(heads()["mlp"], jobs, replace(SETTINGS, num_updates=1))
    readout = load_readout(readouts()["pooled"])
    evaluation = Evaluation(
        contenders=[EvaluatedPolicy(readout, policy, seed) for seed, policy in enumerate(policies)],
        jobs=[EpisodeJob(policy, 0, 0) for policy in range(num_policies)],
        rule=replace(RULE, horizon=1),
    )
    with SimulatorPool(spec, None, engine.num_workers, engine.envs_per_worker, engine.hang_s) as pool:
        evaluate(pool, encoder, evaluation, lambda _: None)
        return seconds(lambda: evaluate(pool, encoder, evaluation, lambda _: None)) / num_policies


if __name__ == "__main__":
    main()
