"""Held-out pairs of start and goal, along the expert's episodes from the initial states of the split `test`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pvrbench.envs.base import Array, SimulationError, Task, TaskEnv
from pvrbench.envs.initial_states import FIRST_SEEDS

# Starts that are tried for each pair before the task is given up.
MAX_TRIES = 3


class ImaginationError(ValueError):
    """A future cannot be imagined; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A start and a goal in one episode.

    Attributes:
        seed: reset seed of the episode.
        start: simulator state from which is planned.
        goal: simulator state in which the expert has just solved the task.
        expert_steps: control steps of the expert from the one to the other.
    """

    seed: int
    start: Float64[Array, " Q"]
    goal: Float64[Array, " Q"]
    expert_steps: int


def make_pairs(task: Task, num_pairs: int, goal_steps: int) -> tuple[Pair, ...]:
    """The first pairs of a task; episodes that the expert does not solve are left out.

    Args:
        task: the task.
        num_pairs: how many.
        goal_steps: control steps between start and goal, fewer where the episode is shorter.

    Raises:
        ImaginationError: too many starts fulfil their goal already, or the expert fails too often.
    """
    env = task.make_env(None)
    pairs: list[Pair] = []
    num_fulfilled = 0
    try:
        for seed in range(FIRST_SEEDS["test"], FIRST_SEEDS["test"] + MAX_TRIES * num_pairs):
            if len(pairs) == num_pairs:
                break
            states = _solved(task, env, seed)
            if states is None:
                continue
            start = states[max(0, len(states) - 1 - goal_steps)]
            if _is_fulfilled(env, seed, start, task.spec.action_dim):
                num_fulfilled += 1
            else:
                pairs.append(Pair(seed, start, states[-1], min(goal_steps, len(states) - 1)))
    finally:
        env.close()
    if len(pairs) < num_pairs:
        reason = (
            f"{num_fulfilled} starts fulfil their goal already; set a larger imagination.goal_steps"
            if 2 * num_fulfilled > MAX_TRIES * num_pairs - len(pairs)
            else "the expert does not solve the others; leave the task out"
        )
        raise ImaginationError(
            f"{task.spec.name}: {MAX_TRIES * num_pairs} initial states give {len(pairs)} pairs of start and goal, and "
            f"{num_pairs} are wanted: {reason}."
        )
    return tuple(pairs)


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """Content hash."""
    content = hashlib.sha256()
    for pair in pairs:
        content.update(f"{pair.seed} {pair.expert_steps}".encode() + pair.start.tobytes() + pair.goal.tobytes())
    return content.hexdigest()


def _solved(task: Task, env: TaskEnv, seed: int) -> list[Array] | None:
    """States of the expert's episode until it solves the task; None where it does not."""
    env.reset(seed)
    expert = task.make_expert(env, seed)
    states = [env.get_state()]
    try:
        for _ in range(task.spec.horizon):
            result = env.step(expert())
            states.append(env.get_state())
            if result.success:
                return states
    except SimulationError:
        pass
    return None


def _is_fulfilled(env: TaskEnv, seed: int, start: Float64[Array, " Q"], action_dim: int) -> bool:
    """Whether the task is solved at the start: success is known after a step, here one that does nothing."""
    env.reset(seed)
    env.set_state(start)
    return env.step(np.zeros(action_dim, np.float32)).success
