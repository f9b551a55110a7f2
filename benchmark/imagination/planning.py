"""Model-predictive control with the cross-entropy method: towards a goal's latent, all pairs of a task at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pvrbench.benchmark.imagination.config import ImaginationConfig
from pvrbench.benchmark.imagination.pairs import Pair
from pvrbench.benchmark.records.imagination_schema import PlanEpisode
from pvrbench.envs.base import Array, Observation, SimulationError, TaskEnv
from pvrbench.policies.transitions.base import Transition, roll_out
from pvrbench.policies.transitions.cem import plan

Encode = Callable[[Sequence[Observation]], Tensor]
"""Latents `B P D` of what is seen."""
Look = Callable[[Sequence[tuple[int, Array]]], Tensor]
"""Latents `B P D` of what simulator states show, each with the reset seed of its episode."""


@dataclass(slots=True)
class Situation:
    """Where one episode is.

    Attributes:
        pair: its start and goal.
        index: position of the pair.
        state: the simulator's.
        latents: of the frames seen so far, one for each block.
        actions: the executed blocks.
        num_steps: control steps done.
        success: whether the task was solved.
        failure: why the simulator gave up.
    """

    pair: Pair
    index: int
    state: Array
    latents: list[Tensor]
    actions: list[Array] = field(default_factory=list[Array])
    num_steps: int = 0
    success: bool = False
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class PlanningSite:
    """Where plans are executed.

    Attributes:
        env: an environment that renders nothing.
        look: latents of what simulator states show.
        action_dim: width of an action.
    """

    env: TaskEnv
    look: Look
    action_dim: int


@runtime_checkable
class Planner(Protocol):
    """Chooses the next blocks of several episodes."""

    def choose(
        self, situations: Sequence[Situation], goals: Float[Tensor, "B P D"], mean: Float[Array, "B H A"]
    ) -> Float[Array, "B H A"]:
        """A held action for each of the next blocks.

        Args:
            situations: where the episodes are.
            goals: latents of their goals.
            mean: what remains of the last plans.
        """
        ...


@dataclass(frozen=True, slots=True)
class LatentPlanner:
    """Plans in the latent space of a model; all candidates of all episodes are one batch.

    Attributes:
        model: the model.
        settings: the planner's.
        seed: of the candidates.
    """

    model: Transition
    settings: ImaginationConfig
    seed: int

    def choose(
        self, situations: Sequence[Situation], goals: Float[Tensor, "B P D"], mean: Float[Array, "B H A"]
    ) -> Float[Array, "B H A"]:
        """See `Planner.choose`."""
        count = min(self.model.history, len(situations[0].latents))
        frames = torch.stack([torch.stack(each.latents[-count:]) for each in situations])
        blocks = [each.actions[len(each.actions) - count + 1 :] for each in situations]
        size = self.settings.block_steps * mean.shape[2]
        past = torch.tensor(np.array(blocks, np.float32).reshape(len(situations), count - 1, size))

        def cost(candidates: Float[Array, "B S H A"]) -> Float[Array, "B S"]:
            num_samples, horizon = candidates.shape[1:3]
            held = torch.tensor(candidates, dtype=torch.float32).flatten(0, 1)
            predicted = roll_out(
                self.model,
                frames.repeat_interleave(num_samples, dim=0),
                past.repeat_interleave(num_samples, dim=0),
                held.repeat(1, 1, self.settings.block_steps),
            )
            unfolded = predicted.reshape(len(situations), num_samples, horizon, *predicted.shape[2:])
            return _cost(unfolded, goals[:, None, None])

        return plan(cost, mean, self.settings, _generators(situations, self.seed))


@dataclass(frozen=True, slots=True)
class SimulatorPlanner:
    """Plans with the true simulator in place of a model, by the latent of what it shows: an upper bound.

    Attributes:
        env: an environment of its own.
        encode: latents of what is seen.
        settings: the planner's.
        seed: of the candidates.
    """

    env: TaskEnv
    encode: Encode
    settings: ImaginationConfig
    seed: int

    def choose(
        self, situations: Sequence[Situation], goals: Float[Tensor, "B P D"], mean: Float[Array, "B H A"]
    ) -> Float[Array, "B H A"]:
        """See `Planner.choose`."""
        found = [self._choose(*each) for each in zip(situations, goals, mean, strict=True)]
        return np.stack(found)

    def _choose(
        self, situation: Situation, goal: Float[Tensor, "P D"], mean: Float[Array, "H A"]
    ) -> Float[Array, "H A"]:
        self.env.reset(situation.pair.seed)

        def cost(candidates: Float[Array, "B S H A"]) -> Float[Array, "B S"]:
            return np.stack([self._try(situation.state, actions, goal) for actions in candidates[0]])[None]

        return plan(cost, mean[None], self.settings, _generators([situation], self.seed))[0]

    def _try(self, state: Array, actions: Float[Array, "H A"], goal: Float[Tensor, "P D"]) -> Array:
        """Cost of one candidate; infinite where the simulator gives up."""
        self.env.set_state(state)
        steps = range(self.settings.block_steps)
        try:
            seen = [[self.env.step(action) for _ in steps][-1].observation for action in actions.astype(np.float32)]
        except SimulationError:
            return np.asarray(np.inf)
        return _cost(self.encode(seen), goal)


@dataclass(frozen=True, slots=True)
class RandomPlanner:
    """Draws actions uniformly.

    Attributes:
        seed: of the actions.
    """

    seed: int

    def choose(
        self, situations: Sequence[Situation], goals: Float[Tensor, "B P D"], mean: Float[Array, "B H A"]
    ) -> Float[Array, "B H A"]:
        """See `Planner.choose`."""
        del goals
        return np.stack([each.uniform(-1, 1, mean.shape[1:]) for each in _generators(situations, self.seed)])


def _cost(latents: Float[Tensor, "*N H P D"], goal: Tensor) -> Array:
    """Mean squared distance to the goal over the horizon; the last frame counts twice."""
    distances = cast("Array", (latents - goal).square().mean(dim=(-2, -1)).double().numpy())
    return np.asarray((distances.sum(axis=-1) + distances[..., -1]) / (distances.shape[-1] + 1))


def _generators(situations: Sequence[Situation], seed: int) -> list[np.random.Generator]:
    """One for each episode and planning step, whatever the companions."""
    return [np.random.default_rng([seed, each.pair.seed, each.num_steps]) for each in situations]


def run_plans(
    planner: Planner,
    site: PlanningSite,
    pairs: Sequence[Pair],
    settings: ImaginationConfig,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> tuple[PlanEpisode, ...]:
    """Plans, executes some blocks and plans again, until the task is solved or the budget is spent.

    Args:
        planner: chooses the blocks.
        site: where blocks are executed.
        pairs: starts and goals.
        settings: budget and planner.
        on_progress: called with the number of episodes that have ended.
    """
    options = settings
    goals = site.look([(pair.seed, pair.goal) for pair in pairs])
    starts = site.look([(pair.seed, pair.start) for pair in pairs])
    situations = [Situation(pair, index, pair.start, [starts[index]]) for index, pair in enumerate(pairs)]
    mean = np.zeros((len(pairs), options.horizon, site.action_dim))
    left = situations
    while left:
        places = [each.index for each in left]
        mean[places] = planner.choose(left, goals[places], mean[places])
        reached = [(each, _execute(site.env, each, mean[each.index, : options.executed], settings)) for each in left]
        going = [(each, states) for each, states in reached if not _has_ended(each, settings)]
        if going:
            latents = site.look([(each.pair.seed, state) for each, states in going for state in states])
            for place, (each, _) in enumerate(going):
                each.latents.extend(latents[place * options.executed : (place + 1) * options.executed])
        mean = np.concatenate([mean[:, options.executed :], np.zeros_like(mean[:, : options.executed])], axis=1)
        on_progress(len(left) - len(going))
        left = [each for each, _ in going]
    return tuple(
        PlanEpisode(
            index=each.index,
            seed=each.pair.seed,
            expert_steps=each.pair.expert_steps,
            success=each.success,
            num_steps=each.num_steps,
            failure=each.failure,
        )
        for each in situations
    )


def _execute(
    env: TaskEnv, situation: Situation, actions: Float[Array, "K A"], settings: ImaginationConfig
) -> list[Array]:
    """Executes blocks until the episode ends; the simulator's states behind each."""
    env.reset(situation.pair.seed)
    env.set_state(situation.state)
    states: list[Array] = []
    for action in actions.astype(np.float32):
        for _ in range(settings.block_steps):
            if _has_ended(situation, settings):
                return states
            try:
                situation.success = env.step(action).success
            except SimulationError as error:
                situation.failure = str(error)
                return states
            situation.num_steps += 1
        situation.actions.append(np.tile(action, settings.block_steps))
        states.append(env.get_state())
    situation.state = states[-1]
    return states


def _has_ended(situation: Situation, settings: ImaginationConfig) -> bool:
    budget = settings.budget * situation.pair.expert_steps
    return situation.success or situation.failure is not None or situation.num_steps >= budget
