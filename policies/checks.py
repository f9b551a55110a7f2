"""`check_head`: does a head keep the promises that the benchmark rests on? Shipped ones and one's own."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pvrbench.common.verdict import Verdict, attempt
from pvrbench.policies.base import Observation, Policy, State, TrainJob
from pvrbench.policies.spec import HeadSpec, Regularisation, TrainSettings
from pvrbench.policies.storage import load_policy, save_policy
from pvrbench.policies.together import act_together, train_heads

NUM_FRAMES, EPISODE_LENGTH = 32, 8
FEATURE_DIM, PROPRIO_DIM, ACTION_DIM = 24, 4, 3

# Calls of `act` in one episode, enough for a policy to act on what it remembers.
NUM_CALLS = 3

SETTINGS = TrainSettings(
    num_updates=20,
    batch_size=16,
    learning_rate=3e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)

# Overfitting must cut the error of the best constant action by this factor. Modes drawn at random
# share the samples, and a network without hidden layer cannot bend, so neither gets to zero.
OVERFIT_RATIO = 0.6


def check_head(spec: HeadSpec) -> list[Verdict]:
    """Checks a head by training it on made-up demonstrations, on the CPU, within seconds.

    Nothing is assumed of its options.

    Args:
        spec: the head, options included.

    Returns:
        A verdict for every promise, in a fixed order; an error inside a check is its problem.
    """
    promises: Sequence[tuple[str, Callable[[HeadSpec], str]]] = (
        (f"it overfits {NUM_FRAMES} frames", _overfits),
        ("actions are finite and in [-1, 1], far from the data too", _bounded),
        ("the same seed gives the same policy", _seeded),
        ("trained alone or in company, a policy is the same to the last bit", _independent_training),
        ("a row's actions do not depend on the other rows or policies", _independent_rows),
        ("saved and loaded, it acts the same to the last bit", _storable),
        ("pickled, it acts the same to the last bit", _picklable),
        ("a training set that is not finite gives a failure and spares the others", _spared),
        ("a training that diverges gives a failure, never actions that are not finite", _failing),
    )
    return [Verdict(name, attempt(partial(check, spec))) for name, check in promises]


def _job(seed: int, num_frames: int = NUM_FRAMES) -> TrainJob:
    generator = torch.Generator().manual_seed(1000 + seed)
    episodes = torch.arange(num_frames) // EPISODE_LENGTH
    features = torch.randn(num_frames, FEATURE_DIM, generator=generator)
    proprio = torch.randn(num_frames, PROPRIO_DIM, generator=generator)
    actions = torch.tanh(features[:, :ACTION_DIM] + 0.5 * proprio[:, :ACTION_DIM])
    return TrainJob(features=features, proprio=proprio, actions=actions, episodes=episodes, seed=seed)


def _train(spec: HeadSpec, jobs: Sequence[TrainJob], settings: TrainSettings = SETTINGS) -> list[Policy]:
    policies = train_heads(spec, jobs, settings)
    failures = [policy.failure for policy in policies if policy.failure is not None]
    if failures:
        raise ArithmeticError(failures[0])
    return policies


def _starts(policy: Policy, num_rows: int) -> list[State]:
    return [policy.start([7, row]) for row in range(num_rows)]


def _acts(policy: Policy, job: TrainJob) -> Tensor:
    """Actions of episodes that begin at every frame and see that frame `NUM_CALLS` times."""
    states = _starts(policy, len(job.features))
    observation = Observation(job.features, job.proprio)
    return torch.cat([policy.act(observation, states) for _ in range(NUM_CALLS)], dim=1)


def _same(first: Policy, second: Policy) -> bool:
    """Whether two policies are made of the same numbers."""
    (tensors, description), (others, other_description) = first.export(), second.export()
    if description != other_description or tensors.keys() != others.keys():
        return False
    return all(torch.equal(tensors[name], others[name]) for name in tensors)


def _overfits(spec: HeadSpec) -> str:
    few = _job(0)
    policy = _train(spec, [few], replace(SETTINGS, num_updates=500))[0]
    actions = policy.act(Observation(few.features, few.proprio), _starts(policy, NUM_FRAMES))
    error = float((actions[:, 0] - few.actions).abs().mean())
    constant = float((few.actions - few.actions.median(dim=0).values).abs().mean())
    if error < OVERFIT_RATIO * constant:
        return ""
    return f"the mean error stayed at {error:.3f}; the best constant action has {constant:.3f}"


def _bounded(spec: HeadSpec) -> str:
    policy = _train(spec, [_job(0)])[0]
    far = torch.randn(40, FEATURE_DIM, generator=torch.Generator().manual_seed(3)) * 100
    actions = policy.act(Observation(far, torch.zeros(40, PROPRIO_DIM)), _starts(policy, 40))
    shape = (40, policy.chunk, ACTION_DIM)
    if tuple(actions.shape) != shape:
        return f"40 observations gave actions of shape {tuple(actions.shape)}, expected {shape}"
    if not bool(torch.isfinite(actions).all()):
        return "some actions are NaN or infinite"
    return "" if float(actions.abs().max()) <= 1 else f"an action of size {float(actions.abs().max()):.3f}"


def _seeded(spec: HeadSpec) -> str:
    torch.manual_seed(0)
    first = _train(spec, [_job(0)])[0]
    torch.manual_seed(1)  # the job's seed counts, not that of the process
    return "" if _same(first, _train(spec, [_job(0)])[0]) else "the same seed gave other weights"


def _independent_training(spec: HeadSpec) -> str:
    jobs = [
        replace(_job(seed, num_frames), regularisation=Regularisation(dropout=dropout, weight_decay=dropout / 10))
        for seed, num_frames, dropout in ((0, 20, 0.1), (1, 50, 0.0), (2, 35, 0.3))
    ]
    together = _train(spec, jobs)
    for position, job in enumerate(jobs):
        alone = _train(spec, [job])[0]
        if not _same(alone, together[position]):
            return f"policy {position} of {len(jobs)} has other weights than when trained alone"
        if alone.train_log != together[position].train_log:
            return f"policy {position} of {len(jobs)} logged other losses than when trained alone"
    return ""


def _independent_rows(spec: HeadSpec) -> str:
    policies, probe, num_rows = _train(spec, [_job(seed) for seed in range(3)]), _job(9, num_frames=23), 23
    generator = np.random.default_rng(0)
    owners = [row % 3 for row in range(num_rows)]
    alone = [_episode(policies[owners[row]], probe, row) for row in range(num_rows)]
    for size in (num_rows, 5):
        # Companions, their number and positions are others at every call.
        states = [policies[owners[row]].start([7, row]) for row in range(num_rows)]
        for call in range(NUM_CALLS):
            order = [int(row) for row in generator.permutation(num_rows)]
            for start in range(0, num_rows, size):
                rows = order[start : start + size]
                given = Observation(probe.features, probe.proprio).pick(rows)
                found = act_together(policies, [owners[row] for row in rows], given, [states[row] for row in rows])
                for row, actions in zip(rows, found, strict=True):
                    if not np.array_equal(actions, alone[row][call]):
                        return f"row {row} of {num_rows} got other actions in call {call} than alone"
    return ""


def _episode(policy: Policy, probe: TrainJob, row: int) -> list[NDArray[Any]]:
    """What a policy does alone when it sees one frame again and again."""
    states = [policy.start([7, row])]
    one = Observation(probe.features, probe.proprio).pick([row])
    return [policy.act(one, states)[0].numpy() for _ in range(NUM_CALLS)]


def _storable(spec: HeadSpec) -> str:
    policy = _train(spec, [_job(0)])[0]
    with TemporaryDirectory() as folder:
        save_policy(policy, Path(folder), "policy")
        loaded = load_policy(Path(folder), "policy", spec)
    if not torch.equal(_acts(policy, _job(9)), _acts(loaded, _job(9))):
        return "the loaded policy acts differently"
    return "" if _described(policy) == _described(loaded) else "the loaded policy has another log or other sizes"


def _picklable(spec: HeadSpec) -> str:
    policy = _train(spec, [_job(0)])[0]
    sent = pickle.loads(pickle.dumps(policy))  # noqa: S301 - made here
    return "" if torch.equal(_acts(policy, _job(9)), _acts(sent, _job(9))) else "the pickled policy acts differently"


def _described(policy: Policy) -> Mapping[str, object]:
    return {"num_params": dict(policy.num_params), "log": dict(policy.train_log), "chunk": policy.chunk}


def _spared(spec: HeadSpec) -> str:
    bad = _job(1)
    bad.features[3, 2] = torch.nan
    good, failed = train_heads(spec, [_job(0), bad], SETTINGS)
    if failed.failure is None:
        return "training on NaN gave no failure"
    return "" if _same(good, _train(spec, [_job(0)])[0]) else "a failed companion changed the weights"


def _failing(spec: HeadSpec) -> str:
    wild = replace(_job(0), actions=_job(0).actions * float(torch.finfo().max))
    (policy,) = train_heads(spec, [wild], SETTINGS)
    if policy.failure is None and not bool(torch.isfinite(_acts(policy, _job(9))).all()):
        return "actions of 1e38 were trained on without a failure, and the policy's actions are not finite"
    return ""
