"""Demonstrations: collected by seed from scripted experts, kept only if successful, stored in robomimic's schema.

An HDF5 file holds `data/demo_<i>/{states,actions,obs/proprio,obs/state}`, its reset seed, and filter keys
`mask/<N>_demos`. Images are not stored: they are rendered from states for any camera and size (`pictures/frames.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from jaxtyping import Float32, Float64

from pvrbench.envs.base import Task, TaskEnv
from pvrbench.envs.initial_states import FIRST_SEEDS
from pvrbench.envs.spec import TaskSpec

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# 2: the privileged state shows near relations enlarged.
SCHEMA = 2

# An expert that fails more often than this is no source of demonstrations.
MIN_SUCCESS_RATE = 0.5

# Numbers in one array of one demonstration; a file that claims more is damaged or hostile.
MAX_ENTRIES = 50_000_000

# Demonstrations between two writes: what a killed process loses at most.
CHECKPOINT_EVERY = 25


class DemoError(ValueError):
    """A demonstration file cannot be used or written; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One successful demonstration of T steps; entry t is what was seen before action t.

    Attributes:
        seed: reset seed of its initial state, which also drew the expert's style.
        actions: in [-1, 1].
        states: simulator states, enough with the seed to render every instant.
        proprio: proprioception.
        privileged: the oracle's state.
    """

    seed: int
    actions: Float32[Array, "T A"]
    states: Float64[Array, "T Q"]
    proprio: Float32[Array, "T P"]
    privileged: Float32[Array, "T S"]

    @property
    def digest(self) -> str:
        """Content hash."""
        content = hashlib.sha256(str(self.seed).encode())
        for array in (self.actions, self.states, self.proprio, self.privileged):
            content.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


class DemoFile:
    """A demonstration file, checked when it is opened.

    Args:
        path: the HDF5 file.
        task: the task it should be of; None takes any.

    Raises:
        DemoError: the file is absent, damaged, foreign, of another task, or of another simulator version.
    """

    def __init__(self, path: Path, task: TaskSpec | None = None) -> None:
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                attributes: dict[str, Any] = dict(file["data"].attrs)
                self.schema = int(attributes["schema"])
                self.num_demos = int(attributes["num_demos"])
                self.digests = [str(item) for item in json.loads(str(attributes["digests"]))]
                self.environment: dict[str, Any] = json.loads(str(attributes["env_args"]))
                self.action_noise = float(attributes.get("action_noise", 0.0))
                self.is_imported = bool(attributes.get("is_imported", False))
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise DemoError(
                f"{path} is not a sound demonstration file ({error}). Remove it to collect it anew."
            ) from error
        if len(self.digests) != self.num_demos:
            raise DemoError(
                f"{path} is not a sound demonstration file (its index is short). Remove it to collect it anew."
            )
        if self.schema != SCHEMA:
            raise DemoError(
                f"{path} was written by another version of pvrbench (schema {self.schema}, here {SCHEMA}). "
                "Remove it to collect it anew."
            )
        if task is not None:
            self._check_task(task)

    def _check_task(self, task: TaskSpec) -> None:
        given, packages = self.environment.get("env_name"), self.environment.get("packages", {})
        if given != task.name:
            raise DemoError(f"{self.path} holds demonstrations of {given!r}, not of {task.name!r}.")
        installed = {name: version(name) for name in task.packages}
        differing = [
            f"{name} {packages.get(name)} there, {new} here"
            for name, new in installed.items()
            if packages.get(name) != new
        ]
        if differing:
            raise DemoError(
                f"{self.path} was collected in another simulator ({'; '.join(differing)}). "
                "Remove it to collect it anew, or install those versions."
            )

    def __len__(self) -> int:
        return self.num_demos

    def demo(self, index: int) -> Demo:
        """Reads one demonstration and checks its content hash.

        Raises:
            DemoError: there is none of that index, or its content was changed.
        """
        if not 0 <= index < self.num_demos:
            raise DemoError(f"{self.path} has {self.num_demos} demonstrations; there is no number {index}.")
        try:
            with h5py.File(self.path, "r") as file:
                group: Any = file[f"data/demo_{index}"]
                demo = Demo(
                    seed=int(group.attrs["seed"]),
                    actions=read_array(group, "actions").astype(np.float32),
                    states=read_array(group, "states").astype(np.float64),
                    proprio=read_array(group, "obs/proprio").astype(np.float32),
                    privileged=read_array(group, "obs/state").astype(np.float32),
                )
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise DemoError(
                f"{self.path} is damaged at demo_{index} ({error}). Remove it to collect it anew."
            ) from error
        if demo.digest != self.digests[index]:
            raise DemoError(f"{self.path} is damaged at demo_{index} (content hash). Remove it to collect it anew.")
        return demo

    def digest_of(self, num_demos: int) -> str:
        """Content hash of the first demonstrations; it does not change when more are collected."""
        return hashlib.sha256("".join(self.digests[:num_demos]).encode()).hexdigest()


def read_array(group: Any, name: str) -> Array:
    """A numeric array of a file that may come from anywhere.

    Raises:
        ValueError: it lies in another file, is not numeric, or claims to be larger than any demonstration is.
    """
    link: object = group.get(name, getlink=True)
    dataset: Any = None if isinstance(link, h5py.ExternalLink) else group[name]
    if dataset is None or getattr(dataset, "is_virtual", False) or getattr(dataset, "external", None):
        raise ValueError(f"{name} points into another file")
    if getattr(dataset, "dtype", np.dtype(object)).kind not in "fiu":
        raise ValueError(f"{name} is not a numeric array")
    if dataset.size > MAX_ENTRIES:
        raise ValueError(f"{name} claims {dataset.size} entries")
    return np.asarray(dataset)


def collect_demos(
    task: Task,
    num_demos: int,
    path: Path,
    on_progress: Callable[[int], None] = lambda _count: None,
    action_noise: float = 0.0,
) -> DemoFile:
    """Collects demonstrations of the `demos` split in the order of their seeds, keeping the successful ones.

    A file that holds some already is extended; what is finished is kept when collection is interrupted, and a
    collection that is taken up again ends with the same content.

    Args:
        task: the task.
        num_demos: demonstrations wanted in all.
        path: the file.
        on_progress: called with the number of demonstrations finished.
        action_noise: standard deviation of the noise that disturbs the executed action, while the expert's own is
            what is recorded, so that recoveries are demonstrated too.

    Raises:
        DemoError: the expert fails too often, or the file cannot be written.
    """
    demos: list[Demo] = []
    if path.exists():
        old = DemoFile(path, task.spec)
        if old.action_noise != action_noise:
            raise DemoError(
                f"{path} was collected with action noise {old.action_noise}, not {action_noise}. Give another path."
            )
        if len(old) >= num_demos:
            return old
        demos = [old.demo(index) for index in range(len(old))]
        on_progress(len(demos))
    env = task.make_env(None)
    # The seed after the last kept one: failed seeds before it are not tried again.
    seed = demos[-1].seed + 1 if demos else FIRST_SEEDS["demos"]
    num_written = len(demos)
    try:
        while len(demos) < num_demos:
            demo = record_demo(task, env, seed, action_noise)
            seed += 1
            tried = seed - FIRST_SEEDS["demos"]
            if demo is not None:
                demos.append(demo)
                on_progress(1)
                if len(demos) - num_written == CHECKPOINT_EVERY:
                    write_demos(path, task.spec, demos, action_noise=action_noise)
                    num_written = len(demos)
            elif tried >= 20 and len(demos) < MIN_SUCCESS_RATE * tried:
                raise DemoError(
                    f"The expert of {task.spec.name} solved {len(demos)} of {tried} starts; it needs mending."
                )
    finally:
        env.close()
        if len(demos) > num_written:
            write_demos(path, task.spec, demos, action_noise=action_noise)
    return DemoFile(path, task.spec)


def _disturb(seed: int, action_noise: float) -> Callable[[Float32[Array, " A"]], Float32[Array, " A"]]:
    """What is executed when an action is given: with noise drawn anew for each episode, by its seed."""
    if action_noise == 0.0:
        return lambda action: action
    generator = np.random.default_rng([seed, 1])
    return lambda action: np.clip(action + generator.normal(0.0, action_noise, action.shape), -1, 1).astype(np.float32)


def record_demo(task: Task, env: TaskEnv, seed: int, action_noise: float = 0.0) -> Demo | None:
    """One episode of the expert from a seed; None where it does not succeed within the horizon."""
    observation = env.reset(seed)
    expert = task.make_expert(env, seed)
    disturb = _disturb(seed, action_noise)
    rows: list[tuple[Array, Array, Array, Array]] = []
    for _ in range(task.spec.horizon):
        action = expert()
        rows.append((action, env.get_state(), observation["proprio"], observation["state"]))
        result = env.step(disturb(action))
        observation = result.observation
        if result.success:
            actions, states, proprio, privileged = (np.stack(column) for column in zip(*rows, strict=True))
            return Demo(seed, actions, states, proprio, privileged)
    return None


def write_demos(
    path: Path, task: TaskSpec, demos: Sequence[Demo], *, action_noise: float = 0.0, is_imported: bool = False
) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    Args:
        path: the file.
        task: what the demonstrations are of.
        demos: all of them.
        action_noise: noise of the executed actions.
        is_imported: whether the initial states are others than those of the seeds.

    Raises:
        DemoError: it cannot be written.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        os.close(handle)
        with h5py.File(temporary, "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps(
                {
                    "env_name": task.name,
                    "env_version": version(task.packages[0]),
                    "type": 1,
                    "env_kwargs": dict(task.options),
                    "packages": {name: version(name) for name in task.packages},
                }
            )
            data.attrs["schema"] = SCHEMA
            data.attrs["action_noise"] = action_noise
            data.attrs["is_imported"] = is_imported
            data.attrs["num_demos"] = len(demos)
            data.attrs["total"] = sum(len(demo.actions) for demo in demos)
            data.attrs["digests"] = json.dumps([demo.digest for demo in demos])
            for index, demo in enumerate(demos):
                _write_demo(data.create_group(f"demo_{index}"), demo)
            for size in (size for size in (1, 5, 10, 25, 50, 100, 200) if size <= len(demos)):
                names = [f"demo_{index}".encode() for index in range(size)]
                file.create_dataset(f"mask/{size}_demos", data=np.array(names))
        Path(temporary).replace(path)
    except OSError as error:
        raise DemoError(
            f"Cannot write {path}: {error.strerror or error}. Free space or set PVRBENCH_CACHE to another folder."
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _write_demo(group: Any, demo: Demo) -> None:
    is_last = np.arange(len(demo.actions)) == len(demo.actions) - 1
    group.attrs["seed"] = demo.seed
    group.attrs["num_samples"] = len(demo.actions)
    group.create_dataset("actions", data=demo.actions)
    group.create_dataset("states", data=demo.states)
    group.create_dataset("obs/proprio", data=demo.proprio)
    group.create_dataset("obs/state", data=demo.privileged)
    group.create_dataset("dones", data=is_last)
    group.create_dataset("rewards", data=is_last.astype(float))


def verify_demos(task: Task, file: DemoFile) -> list[str]:
    """Replays every demonstration's actions in the installed simulator.

    Returns:
        One line for each demonstration that no longer succeeds or goes through other states; none where all hold.
    """
    complaints: list[str] = []
    env = task.make_env(None)
    try:
        for index in range(len(file)):
            demo = file.demo(index)
            env.reset(demo.seed)
            if file.is_imported:
                env.set_state(demo.states[0])
            disturb = _disturb(demo.seed, file.action_noise)
            success, first_difference = False, None
            for step, (state, action) in enumerate(zip(demo.states, demo.actions, strict=True)):
                if first_difference is None and not np.array_equal(env.get_state(), state):
                    first_difference = step
                success = env.step(disturb(action)).success
            if not success:
                complaints.append(f"demo_{index} (seed {demo.seed}) no longer succeeds")
            elif first_difference is not None:
                complaints.append(
                    f"demo_{index} (seed {demo.seed}) succeeds through other states from step {first_difference}"
                )
    finally:
        env.close()
    return complaints
