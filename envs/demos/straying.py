"""Held-out episodes of a disturbed expert: states that demonstrations do not show and policies come into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from pvrbench.envs.base import Array, Observation, SimulationError, Task, TaskEnv
from pvrbench.envs.initial_states import seeds_of
from pvrbench.envs.spec import View


@dataclass(frozen=True, slots=True)
class Strayed:
    """Frames of one episode.

    Attributes:
        images: the pictures; without pixels where no view was given.
        privileged: the oracle's states.
        proprio: proprioception.
    """

    images: UInt8[Array, "T H W 3"]
    privileged: Float32[Array, "T S"]
    proprio: Float32[Array, "T P"]


def stray(task: Task, view: View | None, num_episodes: int, noise: float, stride: int) -> list[Strayed]:
    """Runs a disturbed expert from the initial states of the split `selection`.

    Every action is the expert's and normal noise. An episode ends when the task is solved, at the horizon, or when the
    simulator gives up.

    Args:
        task: the task.
        view: how pictures are made; None makes none.
        num_episodes: episodes.
        noise: standard deviation of the noise.
        stride: control steps between frames that are kept.
    """
    blind = task.make_env(None)
    seeing = blind if view is None else task.make_env(view)
    try:
        found: list[Strayed] = []
        for seed in seeds_of("selection", num_episodes):
            states = states_of(task, blind, seed, noise, stride)
            observed = observe_states(seeing, seed, states)
            found.append(
                Strayed(*(np.stack([each[name] for each in observed]) for name in ("image", "state", "proprio")))
            )
        return found
    finally:
        blind.close()
        if seeing is not blind:
            seeing.close()


def observe_states(env: TaskEnv, seed: int, states: Iterable[Array]) -> list[Observation]:
    """What is seen at some states of the episode that a seed begins."""
    env.reset(seed)
    seen: list[Observation] = []
    for state in states:
        env.set_state(state)
        seen.append(env.observe())
    return seen


def states_of(task: Task, env: TaskEnv, seed: int, noise: float, stride: int) -> list[Array]:
    """Simulator states of every `stride`-th step of one episode, see `stray`.

    Args:
        task: the task.
        env: an environment of it.
        seed: reset seed of the episode.
        noise: standard deviation of the noise on the expert's actions; 0 for none.
        stride: control steps between states.
    """
    env.reset(seed)
    expert, rng = task.make_expert(env, seed), np.random.default_rng(seed)
    states = [env.get_state()]
    for step in range(1, task.spec.horizon):
        action = expert() + rng.normal(0.0, noise, task.spec.action_dim)
        try:
            result = env.step(action.astype(np.float32))
        except SimulationError:
            break
        if step % stride == 0:
            states.append(env.get_state())
        if result.success:
            break
    return states
