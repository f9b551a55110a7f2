"""Demonstrations collected by seed from scripted experts, and their replay in the installed simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64

from pvrbench.envs.base import Observation, Task, TaskEnv
from pvrbench.envs.demos.demo_file import Demo, DemoError, DemoFile, write_demos
from pvrbench.envs.demos.demo_set import DemoSet, check_identity, too_few
from pvrbench.envs.initial_states import FIRST_SEEDS
from pvrbench.envs.spec import FIRST_SUCCESS, DemoEnd

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# An expert that fails more often than this is no source of demonstrations.
MIN_SUCCESS_RATE = 0.5

# Demonstrations between two writes: what a killed process loses at most.
CHECKPOINT_EVERY = 25

# Imported actions that leave more of the motion unexplained than this mean something else here.
MAX_UNEXPLAINED = 0.25

# A state's dimension that changes less than this in a step, on average, does not move.
STILL = 1e-7


def collect_demos(
    task: Task,
    num_demos: int,
    path: Path,
    on_progress: Callable[[int], None] = lambda _count: None,
    action_noise: float = 0.0,
    end: DemoEnd = FIRST_SUCCESS,
) -> DemoSet:
    """Collects demonstrations of the `demos` split in the order of their seeds, keeping the successful ones.

    A file that holds some already is extended; what is finished is kept when collection is interrupted, and a
    collection that is taken up again ends with the same content. An imported file is never extended.

    Args:
        task: the task.
        num_demos: demonstrations wanted in all.
        path: the file.
        on_progress: called with the number of demonstrations finished.
        action_noise: standard deviation of the noise that disturbs the executed action, while the expert's own is
            what is recorded, so that recoveries are demonstrated too.
        end: where the demonstrations end.

    Returns:
        All demonstrations that the file holds, which may be more.

    Raises:
        DemoError: the expert fails too often, the file is of another kind or imported, or it cannot be written.
    """
    spec, demos = task.spec, list[Demo]()
    if path.exists():
        old = DemoFile(path)
        check_identity(old, spec, action_noise, end)
        if len(old) >= num_demos:
            return DemoSet(old, spec, len(old))
        if old.manifest.source is not None:
            raise too_few(old, spec, num_demos)
        demos = [old.demo(index) for index in range(len(old))]
        on_progress(len(demos))
    env = task.make_env(None)
    # The seed after the last kept one: failed seeds before it are not tried again.
    seed = demos[-1].seed + 1 if demos else FIRST_SEEDS["demos"]
    num_written = len(demos)
    try:
        while len(demos) < num_demos:
            demo = record_demo(task, env, seed, action_noise, end)
            seed += 1
            tried = seed - FIRST_SEEDS["demos"]
            if demo is not None:
                demos.append(demo)
                on_progress(1)
                if len(demos) - num_written == CHECKPOINT_EVERY:
                    write_demos(path, spec, demos, action_noise=action_noise, end=end)
                    num_written = len(demos)
            elif tried >= 20 and len(demos) < MIN_SUCCESS_RATE * tried:
                raise DemoError(
                    f"The expert of {spec.name} solved {len(demos)} of {tried} starts (end rule {end}); "
                    "it needs mending."
                )
    finally:
        env.close()
        if len(demos) > num_written:
            write_demos(path, spec, demos, action_noise=action_noise, end=end)
    return DemoSet.open(path, spec, action_noise, end)


def disturbance(seed: int, action_noise: float) -> Callable[[Float32[Array, " A"]], Float32[Array, " A"]]:
    """What is executed when an action is given: with noise drawn anew for each episode, by its seed."""
    if action_noise == 0.0:
        return lambda action: action
    generator = np.random.default_rng([seed, 1])
    return lambda action: np.clip(action + generator.normal(0.0, action_noise, action.shape), -1, 1).astype(np.float32)


def record_demo(
    task: Task, env: TaskEnv, seed: int, action_noise: float = 0.0, end: DemoEnd = FIRST_SUCCESS
) -> Demo | None:
    """One episode of the expert from a seed; None where it is not solved within the horizon, or not at the end."""
    observation = env.reset(seed)
    expert = task.make_expert(env, seed)
    disturb = disturbance(seed, action_noise)
    rows: list[tuple[Array, Array, Array, Array]] = []
    num_steps, solved, success = task.spec.horizon, False, False
    while len(rows) < num_steps:
        action = expert()
        rows.append((action, env.get_state(), observation["proprio"], observation["state"]))
        result = env.step(disturb(action))
        observation, success = result.observation, result.success
        if success and not solved:
            solved = True
            if end.rule != "full_horizon":
                num_steps = len(rows) + end.hold_steps
    if not success:
        return None
    actions, states, proprio, privileged = (np.stack(column) for column in zip(*rows, strict=True))
    return Demo(seed, actions, states, proprio, privileged)


@dataclass(frozen=True, slots=True)
class StepwiseReplay:
    """An episode of T steps whose every action was tried from its recorded state.

    Attributes:
        observations: what the installed simulator shows of the recorded states.
        reached: states after each action.
        solved: whether the task was solved after each action.
    """

    observations: tuple[Observation, ...]
    reached: Float64[Array, "T Q"]
    solved: tuple[bool, ...]

    def unexplained(self, states: Float64[Array, "T Q"], num_steps: int) -> float:
        """Share of the motion in the first steps that the actions do not bring about; 0 where they bring about all.

        Each dimension is measured in units of its own mean motion, since states mix metres, radians and velocities.
        """
        motion = np.diff(states[: num_steps + 1], axis=0)
        error = self.reached[: len(motion)] - states[1 : len(motion) + 1]
        scale = np.sqrt(np.mean(motion**2, axis=0)) if len(motion) else np.zeros(states.shape[1])
        moving = scale > STILL
        if not moving.any():
            return 0.0
        sizes = [np.linalg.norm(part[:, moving] / scale[moving], axis=1).sum() for part in (error, motion)]
        return float(sizes[0] / sizes[1])


def replay_stepwise(
    env: TaskEnv,
    seed: int,
    states: Float64[Array, "S Q"],
    actions: Float32[Array, "T A"],
    action_noise: float = 0.0,
) -> StepwiseReplay:
    """Puts every recorded state into the simulator and tries the recorded action from there.

    Raises:
        SimulationError: the physics became unstable.
    """
    env.reset(seed)
    disturb = disturbance(seed, action_noise)
    observations: list[Observation] = []
    reached: list[Array] = []
    solved: list[bool] = []
    for state, action in zip(states, actions, strict=False):
        env.set_state(state)
        observations.append(env.observe())
        solved.append(env.step(disturb(action)).success)
        reached.append(env.get_state())
    return StepwiseReplay(tuple(observations), np.stack(reached), tuple(solved))


def verify_demos(task: Task, demos: DemoSet) -> list[str]:
    """Replays every demonstration's actions in the installed simulator.

    Those that the expert made here have to go through the same states bit for bit. Imported ones are tried step by
    step, each action from its recorded state.

    Returns:
        One line for each demonstration that no longer succeeds or goes through other states; none where all hold.
    """
    env = task.make_env(None)
    noise = demos.manifest.action_noise
    verify = _verify_scripted if demos.manifest.source is None else _verify_imported
    try:
        found = [verify(env, demos.demo(index), noise) for index in range(len(demos))]
    finally:
        env.close()
    return [f"demo_{index} {complaint}" for index, complaint in enumerate(found) if complaint]


def _verify_scripted(env: TaskEnv, demo: Demo, action_noise: float) -> str:
    env.reset(demo.seed)
    disturb = disturbance(demo.seed, action_noise)
    success, first_difference = False, None
    for step, (state, action) in enumerate(zip(demo.states, demo.actions, strict=True)):
        if first_difference is None and not np.array_equal(env.get_state(), state):
            first_difference = step
        success = env.step(disturb(action)).success
    if not success:
        return f"(seed {demo.seed}) no longer succeeds"
    if first_difference is not None:
        return f"(seed {demo.seed}) succeeds through other states from step {first_difference}"
    return ""


def _verify_imported(env: TaskEnv, demo: Demo, action_noise: float) -> str:
    replay = replay_stepwise(env, demo.seed, demo.states, demo.actions, action_noise)
    if not replay.solved[-1]:
        return f"(seed {demo.seed}) no longer succeeds"
    share = replay.unexplained(demo.states, len(demo.actions))
    return (
        f"(seed {demo.seed}) goes through other states ({share:.0%} of the motion)" if share > MAX_UNEXPLAINED else ""
    )
