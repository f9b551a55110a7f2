"""Many policies as one: training those of a head, and acting for those of an encoder. What the trunk calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from pvrbench.policies.base import Array, GroupPolicy, Observation, Policy, State, TrainJob, UntrainedPolicy, build_head
from pvrbench.policies.spec import HeadSpec, TrainSettings


def train_heads(
    spec: HeadSpec, jobs: Sequence[TrainJob], settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0
) -> list[Policy]:
    """Trains one policy for each job; together where the head can do that.

    Args:
        spec: the head, its options included.
        jobs: demonstrations, regularisation and seed of each policy.
        settings: optimisation; the parameters after the last update are returned.
        device: where to train.
        num_checkpoints: evenly spaced parameter sets to keep, the last of which is that of the last update.

    Returns:
        The policies in the order of the jobs. One whose training set, loss or parameters are not finite has its
        `failure` set.

    Raises:
        ValueError: a job's tensors are of different lengths, or a demonstration's frames are not consecutive.
    """
    head = build_head(spec)
    failures = [_problem(job) for job in jobs]
    sound = [job for job, failure in zip(jobs, failures, strict=True) if failure is None]
    if spec.fit_together:
        fit_many = cast("Callable[..., list[Policy]]", cast("Any", head).fit_many)
        trained = fit_many(sound, settings, device, num_checkpoints) if sound else []
    else:
        trained = [head.fit(job, settings, device, num_checkpoints) for job in sound]
    following = iter(trained)
    return [next(following) if failure is None else UntrainedPolicy(spec, failure) for failure in failures]


def _problem(job: TrainJob) -> str | None:
    """Why a job cannot be trained on, None where it can."""
    parts = {"features": job.features, "proprio": job.proprio, "actions": job.actions}
    parts |= {} if job.instructions is None else {"instructions": job.instructions}
    for name, values in {**parts, "episodes": job.episodes}.items():
        if len(values) != len(job.features) or not len(values):
            raise ValueError(
                f"A head was given {len(job.features)} features and {len(values)} {name}; they must match."
            )
    episodes = job.episodes if job.rows is None else job.episodes[job.rows]
    if len(cast("Tensor", torch.unique_consecutive(episodes))) != len(cast("Tensor", episodes.unique())):
        raise ValueError("The frames of a demonstration are not consecutive. Order a job's rows by demonstration.")
    for name, values in parts.items():
        if not bool(torch.isfinite(values if job.rows is None else values[job.rows]).all()):
            return f"The {name} of a training set hold NaN or infinity. Check the encoder or the demonstrations."
    return None


def act_together(
    policies: Sequence[Policy], policy_index: Sequence[int], observation: Observation, states: Sequence[State]
) -> list[Float32[Array, "K A"]]:
    """Actions of many policies, each for its own rows; equal to what each policy's `act` gives, to the last bit.

    Args:
        policies: the policies.
        policy_index: which policy acts for a row.
        observation: B rows.
        states: the state of each row's episode, updated in place.

    Returns:
        For each row, the K actions that its policy gives.
    """
    used = set(policy_index)
    kinds = {index: _group(policies[index], index) for index in used}
    if len(set(kinds.values())) == 1:
        return _act_as_one(policies, policy_index, observation, states)
    groups: dict[object, list[int]] = {}
    for row, index in enumerate(policy_index):
        groups.setdefault(kinds[index], []).append(row)
    actions: dict[int, Array] = {}
    for rows in groups.values():
        own_index, own_states = [policy_index[row] for row in rows], [states[row] for row in rows]
        found = _act_as_one(policies, own_index, observation.pick(rows), own_states)
        actions.update(zip(rows, found, strict=True))
    return [actions[row] for row in range(len(policy_index))]


def _act_as_one(
    policies: Sequence[Policy], policy_index: Sequence[int], observation: Observation, states: Sequence[State]
) -> list[Float32[Array, "K A"]]:
    """Actions of policies of one group, or of one policy."""
    first = policies[policy_index[0]]
    if hasattr(first, "act_many"):
        return _arrays(cast("type[GroupPolicy]", type(first)).act_many(policies, policy_index, observation, states))
    return _arrays(first.act(observation, states))


def _arrays(actions: Float[Tensor, "B K A"]) -> list[Float32[Array, "K A"]]:
    return list(cast("Array", actions.numpy(force=True)))


def _group(policy: Policy, index: int) -> object:
    """Policies that share this act in one call."""
    if hasattr(policy, "act_many"):
        return type(policy), cast("GroupPolicy", policy).group
    return index
