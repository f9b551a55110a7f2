"""Initial states by seed, in splits that cannot meet, with a hash of the states themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pvrbench.envs.base import InitialStates, Task
from pvrbench.envs.spec import MAX_STATES, Split

# Seeds of a split are consecutive from its first; no split ever grows to the next one's first.
FIRST_SEEDS: Mapping[Split, int] = {"demos": 0, "selection": 1_000_000, "test": 2_000_000}

_cached: dict[tuple[str, Split, int], InitialStates] = {}


def seeds_of(split: Split, num_states: int) -> tuple[int, ...]:
    """The reset seeds of a split, in order.

    Raises:
        ValueError: more are asked for than a split holds.
    """
    if not 0 < num_states <= MAX_STATES:
        raise ValueError(f"{num_states} initial states were asked for; a split holds 1 to {MAX_STATES}.")
    first = FIRST_SEEDS[split]
    return tuple(range(first, first + num_states))


def make_initial_states(task: Task, split: Split, num_states: int) -> InitialStates:
    """The first initial states of a split, with a digest over the simulator states that their seeds give.

    Two machines whose simulators disagree get different digests, and their results are not compared.
    """
    key = (repr(task.spec), split, num_states)
    if key not in _cached:
        seeds = seeds_of(split, num_states)
        digest = hashlib.sha256(task.spec.name.encode())
        env = task.make_env(None)
        try:
            for seed in seeds:
                observation = env.reset(seed)
                digest.update(env.get_state().tobytes())
                # The privileged state holds what the model, not its dynamic state, was given: goals, door frames.
                digest.update(observation["state"].tobytes())
        finally:
            env.close()
        _cached[key] = InitialStates(split, seeds, digest.hexdigest())
    return _cached[key]
