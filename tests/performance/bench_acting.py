"""Rows of policies that act a second, on one thread; prints one JSON object.

Twelve policies act on tiles of 8 to 32 rows: 512 features and 39 numbers of proprioception in, 4 actions out. `ordered`
is what a run mostly has: rows in the order of jobs, here of two policies. `mixed` is the worst case: rows of all
policies in turn. `row_by_row` is the path that `act_together` replaced: each row by itself, by ordinary operations.
Both give the same bits, which is checked first.
Run as `python tests/performance/bench_acting.py [--heads mlp gmm]`; machines differ, ratios less so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.provenance import processor
from pvrbench.policies.base import Observation, Policy, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.heads.network import ACTIVATIONS, forward
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.together import act_together, train_heads
from pvrbench.policies.training.network_policy import NetworkPolicy

NUM_POLICIES, FEATURE_DIM, PROPRIO_DIM, ACTION_DIM = 12, 512, 39, 4
TILES = (8, 16, 32)
REPEATS, CALLS = 60, 5

SETTINGS = TrainSettings(
    num_updates=1,
    batch_size=16,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)


def policies(name: str) -> list[Policy]:
    """Policies of the usual size; time does not depend on what they learned."""
    generator = torch.Generator().manual_seed(0)
    jobs = [
        TrainJob(
            features=torch.randn(40, FEATURE_DIM, generator=generator),
            proprio=torch.randn(40, PROPRIO_DIM, generator=generator),
            actions=torch.rand(40, ACTION_DIM, generator=generator) * 2 - 1,
            episodes=torch.arange(40) // 20,
            seed=seed,
        )
        for seed in range(NUM_POLICIES)
    ]
    return train_heads(HEADS[name], jobs, SETTINGS)


@torch.no_grad()
def row_by_row(
    policies: Sequence[Policy], owners: Sequence[int], given: Observation, states: Sequence[object]
) -> Tensor:
    """Each row by itself, by ordinary operations."""
    actions: list[Tensor] = []
    for row, owner in enumerate(owners):
        policy = policies[owner]
        assert isinstance(policy, NetworkPolicy)
        vectors, proprio = given.features[row : row + 1].clone(), given.proprio[row : row + 1].clone()
        inputs = policy.inputs.apply(torch.cat([vectors, proprio], dim=1))
        outputs = forward(policy.layers, inputs[None], ACTIVATIONS[policy.activation])[0]
        actions.append(policy.actions.invert(policy.output.act(outputs, [states[row]])).clamp(-1, 1))
    return torch.cat(actions)


def seconds(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """The fastest call of each, taken in turn: what else the machine does only adds time, and to both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for work, found in zip((first, second), times, strict=True):
            start = time.perf_counter()
            for _ in range(CALLS):
                work()
            found.append((time.perf_counter() - start) / CALLS)
    return min(times[0]), min(times[1])


def measure(name: str) -> dict[str, object]:
    """Rows a second by tile and order."""
    trained, found = policies(name), dict[str, object]()
    for tile in TILES:
        given = Observation(torch.randn(tile, FEATURE_DIM), torch.randn(tile, PROPRIO_DIM))
        orders = {
            "ordered": [int(row >= tile // 3) for row in range(tile)],
            "mixed": [row % NUM_POLICIES for row in range(tile)],
        }
        for label, owners in orders.items():
            states = [trained[owner].start([0, row]) for row, owner in enumerate(owners)]
            together = act_together(trained, owners, given, states)
            if states[0] is None:
                expected = row_by_row(trained, owners, given, states)
                assert torch.equal(torch.from_numpy(np.concatenate(together)), expected)
            arguments = (trained, owners, given, states)
            before_s, after_s = seconds(partial(row_by_row, *arguments), partial(act_together, *arguments))
            found[f"{label}_{tile}"] = {
                "row_by_row_rows_per_s": round(tile / before_s),
                "together_rows_per_s": round(tile / after_s),
                "speedup": round(before_s / after_s, 2),
            }
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--heads", nargs="+", default=["mlp", "gmm"])
    arguments = parser.parse_args()
    with one_thread():
        results = {name: measure(name) for name in arguments.heads}
    json.dump({"processor": processor(), "torch": torch.__version__, **results}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
