"""`check_task`: does a task keep the promises that the benchmark rests on? For shipped tasks and for one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats as untyped_stats

from pvrbench.common.verdict import Verdict, attempt
from pvrbench.envs.base import Array, Observation, Task, TaskEnv
from pvrbench.envs.demos.collection import collect_demos, record_demo, verify_demos
from pvrbench.envs.initial_states import FIRST_SEEDS
from pvrbench.envs.pictures.frames import render_demo
from pvrbench.envs.spec import Split, View

IMAGE_PX = 64

# Share of the initial states that an expert is to solve.
EXPERT_SUCCESS = 0.95
# Initial states that must not be solved without acting.
NUM_IDLE = 8
stats: Any = untyped_stats

_ArrayName = Literal["image", "proprio", "state"]
_ARRAYS: tuple[_ArrayName, ...] = ("image", "proprio", "state")
_SPLITS: tuple[Split, ...] = ("demos", "selection", "test")


def check_task(task: Task, num_episodes: int = 3) -> list[Verdict]:
    """Checks a task by running it.

    Args:
        task: the task.
        num_episodes: episodes of the expert.

    Returns:
        A verdict for every promise, in a fixed order; an error inside a check is its problem.
    """
    view = View(camera=task.spec.cameras[0], image_px=IMAGE_PX, render="lean")
    promises: Sequence[tuple[str, Callable[[TaskEnv], str]]] = (
        ("an observation has the widths and types of the specification", lambda env: _widths(task, env)),
        ("a seed gives the same state whatever happened before", lambda env: _is_seeded(task, env)),
        ("seeds differ", _seeds_differ),
        ("the observation after a reset is that of the state", _is_current),
        ("no episode begins solved", lambda _: _begins_unsolved(task)),
        ("observations share no memory", lambda env: _memory(task, env)),
        ("actions are clipped and must be finite", lambda env: _actions(task, env)),
        ("every camera gives a picture that is neither constant nor the same for all states", lambda _: _cameras(task)),
        ("pictures are upright, red, green and blue in this order", lambda _: _pictures(task)),
        ("an episode lasts its horizon and reports success at every step", lambda _: _horizon(task)),
        ("the expert succeeds within the horizon", lambda env: _expert(task, env, num_episodes)),
        ("a demonstration replays, and its pictures are those of a live episode", lambda env: _replay(task, env)),
        ("the splits are disjoint, and a longer one begins with a shorter one", lambda _: _splits(task)),
    )
    env = task.make_env(view)
    try:
        return [Verdict(name, attempt(partial(check, env))) for name, check in promises]
    finally:
        env.close()


def _widths(task: Task, env: TaskEnv) -> str:
    observation, spec = env.reset(0), task.spec
    expected: dict[_ArrayName, tuple[tuple[int, ...], type[np.generic]]] = {
        "image": ((IMAGE_PX, IMAGE_PX, 3), np.uint8),
        "proprio": ((spec.proprio_dim,), np.float32),
        "state": ((spec.state_dim,), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        array = observation[name]
        if array.shape != shape or array.dtype != dtype:
            return f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
    return "" if np.all(np.isfinite(observation["state"])) else "the state is not finite"


def _same(first: Observation, second: Observation) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in _ARRAYS)


def _is_seeded(task: Task, env: TaskEnv) -> str:
    action = np.full(task.spec.action_dim, 0.3, np.float32)

    def outcome(env: TaskEnv) -> tuple[Observation, bytes]:
        observation = env.reset(7)
        for _ in range(10):
            env.step(action)
        return observation, env.get_state().tobytes()

    env.reset(8)
    for _ in range(20):
        env.step(-action)
    used = outcome(env)
    fresh_env = task.make_env(View(camera=task.spec.cameras[0], image_px=IMAGE_PX, render="lean"))
    try:
        fresh = outcome(fresh_env)
    finally:
        fresh_env.close()
    if not _same(used[0], fresh[0]):
        return "reset(7) differs between a used and a fresh environment"
    return "" if used[1] == fresh[1] else "ten steps after reset(7) a used and a fresh environment differ"


def _seeds_differ(env: TaskEnv) -> str:
    states = {env.reset(seed)["state"].tobytes() + env.get_state().tobytes() for seed in range(4)}
    return "" if len(states) == 4 else f"four seeds gave {len(states)} initial states"


def _is_current(env: TaskEnv) -> str:
    for seed in range(3):
        first = env.reset(seed)
        env.set_state(env.get_state())
        again = env.observe()
        differing = [name for name in _ARRAYS if not np.allclose(first[name], again[name], rtol=0.0, atol=1e-6)]
        if differing:
            return f"{', '.join(differing)} of reset({seed}) change when the same state is observed again"
    return ""


def _begins_unsolved(task: Task) -> str:
    env = task.make_env(None)
    seeds = task.initial_states("test", NUM_IDLE).seeds
    try:
        solved = [seed for seed in seeds if _is_solved_by_idling(task, env, seed)]
    finally:
        env.close()
    return f"an idle step solves seeds {', '.join(map(str, solved))}" if solved else ""


def _is_solved_by_idling(task: Task, env: TaskEnv, seed: int) -> bool:
    env.reset(seed)
    return env.step(np.zeros(task.spec.action_dim, np.float32)).success


def _memory(task: Task, env: TaskEnv) -> str:
    first = env.reset(0)
    kept: dict[_ArrayName, Array] = {name: first[name].copy() for name in _ARRAYS}
    for _ in range(5):
        later = env.step(np.full(task.spec.action_dim, 0.5, np.float32))
        if any(np.shares_memory(first[name], later.observation[name]) for name in kept):
            return "two observations share memory"
    return (
        "" if all(np.array_equal(first[name], kept[name]) for name in kept) else "a later step changed an observation"
    )


def _actions(task: Task, env: TaskEnv) -> str:
    ends: list[bytes] = []
    for size in (1.0, 5.0):
        env.reset(0)
        env.step(np.full(task.spec.action_dim, size, np.float32))
        ends.append(env.get_state().tobytes())
    if ends[0] != ends[1]:
        return "an action of 5 does other than an action of 1"
    try:
        env.step(np.full(task.spec.action_dim, np.nan, np.float32))
    except RuntimeError:
        return ""
    return "an action that is not a number was accepted"


def _cameras(task: Task) -> str:
    action = np.full(task.spec.action_dim, 0.5, np.float32)
    for camera in task.spec.cameras:
        env = task.make_env(View(camera=camera, image_px=IMAGE_PX, render="lean"))
        try:
            image = env.reset(0)["image"]
            last = [env.step(action) for _ in range(5)][-1].observation["image"]
        finally:
            env.close()
        if image.std() < 1.0:
            return f"the picture of {camera} is constant"
        if np.array_equal(image, last):
            return f"the picture of {camera} does not change when the robot moves"
    return ""


def _pictures(task: Task) -> str:
    for camera in task.spec.cameras:
        env = task.make_env(View(camera=camera, image_px=IMAGE_PX, render="lean"))
        try:
            plain = env.reset(0)["image"].astype(np.int16)
            image = env.render_marks().astype(np.int16)
        finally:
            env.close()
        # What the marks cover, not what is red or blue in the scene.
        image[np.abs(image - plain).max(-1) < 30] = 0
        first, last = image[..., 0] - image[..., 1:].max(-1), image[..., 2] - image[..., :2].max(-1)
        if min(first.max(), last.max()) < 100:
            return f"the picture of {camera} does not show the red and the blue mark"
        top, bottom = (np.argwhere(excess > 100).mean(0)[0] for excess in (first, last))
        if top >= bottom:
            return f"the picture of {camera} is upside down, or its colours are blue, green, red"
    return ""


def _horizon(task: Task) -> str:
    env = task.make_env(None)
    idle = np.zeros(task.spec.action_dim, np.float32)
    try:
        env.reset(0)
        for _ in range(task.spec.horizon):
            if type(env.step(idle).success) is not bool:
                return "success is not a bool"
    finally:
        env.close()
    return ""


def _expert(task: Task, env: TaskEnv, num_episodes: int) -> str:
    first = FIRST_SEEDS["selection"]
    solved = sum(record_demo(task, env, seed) is not None for seed in range(first, first + num_episodes))
    # Few episodes prove little: a failure is what an expert of the wanted rate would hardly ever give.
    is_credible = stats.binom.cdf(solved, num_episodes, task.spec.expert_success or EXPERT_SUCCESS) > 0.01
    return "" if is_credible else f"it solved {solved} of {num_episodes} episodes"


def _replay(task: Task, env: TaskEnv) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = collect_demos(task, 1, Path(folder) / "demos.hdf5")
        complaints = verify_demos(task, file)
        demo = file.demo(0)
    if complaints:
        return complaints[0]
    frames = render_demo(env, demo)
    image = env.reset(demo.seed)["image"]
    for step, (action, frame) in enumerate(zip(demo.actions, frames, strict=True)):
        if not np.array_equal(image, frame):
            return f"the picture of step {step} differs from the live one"
        image = env.step(action).observation["image"]
    return ""


def _splits(task: Task) -> str:
    seeds = [set(task.initial_states(split, 3).seeds) for split in _SPLITS]
    if len(set[int].union(*seeds)) != 9:
        return "two splits share a seed"
    longer, shorter = task.initial_states("test", 3), task.initial_states("test", 2)
    if longer.seeds[:2] != shorter.seeds or longer.digest == shorter.digest:
        return "the seeds of a longer list do not begin with those of a shorter one"
    return ""
