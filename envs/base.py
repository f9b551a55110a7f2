"""The contract of a task: environment, expert and initial states, each a function of explicit seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pvrbench.envs.spec import Split, TaskSpec, View

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray


class Observation(TypedDict):
    """What is seen at one instant. Arrays are fresh copies: later steps never change them.

    `image` is upright RGB in 0..255, `H W 3`, and `0 0 3` where the environment was made without a view;
    `proprio` is what a robot knows of itself; `state` is privileged and only for the oracle.
    """

    image: UInt8[Array, "H W 3"]
    proprio: Float32[Array, " P"]
    state: Float32[Array, " S"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One control step's outcome: the next observation and whether the task is solved now."""

    observation: Observation
    success: bool


@dataclass(frozen=True, slots=True)
class InitialStates:
    """The initial states of one split, in evaluation order.

    Attributes:
        split: which split this is; seeds of different splits never coincide.
        seeds: reset seeds; the index in this tuple names the state in records.
        digest: content hash over the simulator states that these seeds produce.
    """

    split: Split
    seeds: tuple[int, ...]
    digest: str


@runtime_checkable
class TaskEnv(Protocol):
    """One running environment of a task; not shared between processes."""

    def reset(self, seed: int) -> Observation:
        """Puts the environment into the initial state that `seed` names, whatever happened before."""
        ...

    def step(self, action: Float32[Array, " A"]) -> StepResult:
        """Applies one action (clipped to [-1, 1]) for one control step.

        Raises:
            SimulationError: the physics became unstable or the action is not finite.
        """
        ...

    def observe(self) -> Observation:
        """The observation of the present state."""
        ...

    def render_marks(self) -> UInt8[Array, "H W 3"]:
        """The present picture with a red ball above a blue one before the camera, for `check_task`.

        `pvrbench.envs.pictures.rendering.ViewRenderer.render_marks` makes it.
        """
        ...

    def get_state(self) -> Float64[Array, " Q"]:
        """The simulator's full dynamic state; with the episode's reset seed it determines the picture."""
        ...

    def set_state(self, state: Float64[Array, " Q"]) -> None:
        """Restores a state taken by `get_state` in an episode of the same reset seed."""
        ...

    def close(self) -> None:
        """Frees the renderer and the simulator."""
        ...


@runtime_checkable
class HandlingEnv(Protocol):
    """What an environment adds that knows its objects: which of them the robot dealt with."""

    def handled(self) -> tuple[str, ...]:
        """The objects that were moved or touched in this episode, in order."""
        ...


def handled_in(env: TaskEnv) -> tuple[str, ...]:
    """The objects that were moved or touched in this episode, in order; none where the environment knows of none."""
    return env.handled() if isinstance(env, HandlingEnv) else ()


class SimulationError(RuntimeError):
    """The simulator left the range in which its answers mean anything."""


@runtime_checkable
class Task(Protocol):
    """A task: how to make its environment, its expert, and its initial states."""

    spec: TaskSpec

    def make_env(self, view: View | None) -> TaskEnv:
        """Makes an environment that renders `view`, or one that renders nothing (`None`)."""
        ...

    def make_expert(self, env: TaskEnv, seed: int) -> Callable[[], Float32[Array, " A"]]:
        """A scripted expert for the episode that `env` has just been reset to.

        The returned function reads the privileged state of `env` and gives the next action in [-1, 1];
        `seed` draws the expert's mild variation (speed, way points).
        """
        ...

    def initial_states(self, split: Split, num_states: int) -> InitialStates:
        """The first `num_states` initial states of a split; those of a smaller number are its prefix."""
        ...
