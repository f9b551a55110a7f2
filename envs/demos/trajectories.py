"""Trajectories of blocks of actions, for models of what actions do: an expert, a disturbed one and random actions.

A third of the trajectories is of each kind, in turn. All have the same number of blocks and go on after a success. What
is kept are the instants between blocks. Frames are rendered from the states for any view and kept beside the file.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pvrbench.common.files import write_atomically
from pvrbench.envs.base import Array, SimulationError, Task, TaskEnv
from pvrbench.envs.demos.demo_file import DemoError
from pvrbench.envs.demos.straying import observe_states
from pvrbench.envs.initial_states import FIRST_SEEDS
from pvrbench.envs.pictures.frames import are_sound, frames_key, save_frames
from pvrbench.envs.spec import Split, TaskSpec, View

Kind = Literal["expert", "disturbed", "random"]
KINDS: tuple[Kind, ...] = ("expert", "disturbed", "random")

# Raised whenever the same settings give other trajectories.
TRAJECTORY_VERSION = 1
# Before a random trajectory begins, the expert acts for a random number of blocks, up to this share of them.
HEAD_START = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectorySettings:
    """What trajectories are collected.

    Attributes:
        split: of the reset seeds.
        num_trajectories: of all kinds together.
        num_blocks: blocks in each.
        block_steps: control steps in a block.
        noise: standard deviation of what disturbs the expert; it is drawn for each block and held.
    """

    split: Split
    num_trajectories: int
    num_blocks: int
    block_steps: int
    noise: float


@dataclass(frozen=True, slots=True)
class Trajectories:
    """E trajectories of N blocks of K control steps; instants are before, between and after the blocks.

    Attributes:
        seeds: reset seeds.
        kinds: who acted.
        actions: the executed actions.
        states: simulator states, enough with the seeds to render every instant.
        proprio: proprioception.
        privileged: the oracle's states.
    """

    seeds: tuple[int, ...]
    kinds: tuple[Kind, ...]
    actions: Float32[Array, "E N K A"]
    states: Float64[Array, "E N+1 Q"]
    proprio: Float32[Array, "E N+1 P"]
    privileged: Float32[Array, "E N+1 S"]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def digest(self) -> str:
        """Content hash."""
        return _digest(self.seeds, self.kinds, (self.actions, self.states, self.proprio, self.privileged))


def load_trajectories(
    task: Task,
    settings: TrajectorySettings,
    cache_dir: Path,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> Trajectories:
    """The trajectories of some settings; they are collected where the cache does not hold them.

    Args:
        task: the task.
        settings: which.
        cache_dir: root of the cache; a file lies in `trajectories/<task>/` and holds its manifest and content hash.
        on_progress: called with the number of trajectories done.

    Raises:
        DemoError: the simulator gives up on most of them, or the file cannot be written.
    """
    path = cache_dir / "trajectories" / f"{task.spec.name}-{_name(task.spec, settings)}.npz"
    found = _read(path)
    if found is None:
        found = _collect(task, settings, on_progress)
        try:
            write_atomically(path, _packed(task.spec, settings, found))
        except OSError as error:
            raise DemoError(
                f"Cannot write {path}: {error.strerror}. Free space or set PVRBENCH_CACHE to another folder."
            ) from error
    return found


def load_trajectory_frames(
    task: Task,
    trajectories: Trajectories,
    view: View,
    cache_dir: Path,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> list[UInt8[Array, "T H W 3"]]:
    """Images of all instants, memory-mapped; those that the cache lacks are rendered.

    Args:
        task: the task.
        trajectories: its trajectories.
        view: how images are made.
        cache_dir: root of the cache.
        on_progress: called with the number of trajectories done.

    Raises:
        DemoError: the images cannot be written.
    """
    found: list[UInt8[Array, "T H W 3"]] = []
    env: TaskEnv | None = None
    try:
        for seed, states in zip(trajectories.seeds, trajectories.states, strict=True):
            content = hashlib.sha256(f"{seed} {states.shape}".encode() + states.tobytes()).hexdigest()
            path = cache_dir / "frames" / f"{frames_key(task.spec, content, view)}.npy"
            if not are_sound(path, len(states), view):
                env = env or task.make_env(view)
                save_frames(path, np.stack([each["image"] for each in observe_states(env, seed, states)]))
            found.append(np.load(path, mmap_mode="r"))
            on_progress(1)
    finally:
        if env is not None:
            env.close()
    return found


def _collect(task: Task, settings: TrajectorySettings, on_progress: Callable[[int], None]) -> Trajectories:
    env = task.make_env(None)
    seeds: list[int] = []
    rows: list[tuple[Array, Array, Array, Array]] = []
    seed = FIRST_SEEDS[settings.split]
    try:
        while len(rows) < settings.num_trajectories:
            tried = seed - FIRST_SEEDS[settings.split]
            if tried >= 20 and 2 * len(rows) < tried:
                raise DemoError(
                    f"{task.spec.name}: the simulator gave up on {tried - len(rows)} of {tried} trajectories. "
                    "Set a smaller imagination.noise, or leave the task out."
                )
            try:
                rows.append(_record(task, env, seed, KINDS[len(rows) % len(KINDS)], settings))
            except SimulationError:
                seed += 1
                continue
            seeds.append(seed)
            seed += 1
            on_progress(1)
    finally:
        env.close()
    kinds: tuple[Kind, ...] = tuple(KINDS[index % len(KINDS)] for index in range(len(rows)))
    return Trajectories(tuple(seeds), kinds, *(np.stack(column) for column in zip(*rows, strict=True)))


def _record(
    task: Task, env: TaskEnv, seed: int, kind: Kind, settings: TrajectorySettings
) -> tuple[Array, Array, Array, Array]:
    """Actions, states, proprioception and privileged states of one trajectory."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    observation, expert = env.reset(seed), task.make_expert(env, seed)
    size = task.spec.action_dim
    if kind == "random":
        for _ in range(settings.block_steps * int(rng.integers(0, int(HEAD_START * settings.num_blocks) + 1))):
            observation = env.step(expert()).observation
    scale = settings.noise if kind == "disturbed" else 0.0
    seen, states, actions = [observation], [env.get_state()], list[Array]()
    for _ in range(settings.num_blocks):
        held = rng.uniform(-1, 1, size) if kind == "random" else scale * rng.normal(size=size)
        block: list[Array] = []
        for _ in range(settings.block_steps):
            action = held if kind == "random" else expert() + held
            block.append(np.clip(action, -1, 1).astype(np.float32))
            observation = env.step(block[-1]).observation
        actions.append(np.stack(block))
        seen.append(observation)
        states.append(env.get_state())
    proprio, privileged = (np.stack([each[name] for each in seen]) for name in ("proprio", "state"))
    return np.stack(actions), np.stack(states), proprio, privileged


def _name(spec: TaskSpec, settings: TrajectorySettings) -> str:
    made_by = [f"{name} {version(name)}" for name in spec.packages]
    content = [spec.name, spec.revision, sorted(spec.options.items()), asdict(settings), made_by, TRAJECTORY_VERSION]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _digest(seeds: tuple[int, ...], kinds: tuple[Kind, ...], arrays: Iterable[Array]) -> str:
    content = hashlib.sha256(repr([seeds, kinds]).encode())
    for array in arrays:
        content.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def _packed(spec: TaskSpec, settings: TrajectorySettings, found: Trajectories) -> bytes:
    manifest = {
        "version": TRAJECTORY_VERSION,
        "task": spec.name,
        "revision": spec.revision,
        "packages": {name: version(name) for name in spec.packages},
        "settings": asdict(settings),
        "seeds": found.seeds,
        "kinds": found.kinds,
        "digest": found.digest,
    }
    arrays: dict[str, Array] = {name: getattr(found, name) for name in ("actions", "states", "proprio", "privileged")}
    content = io.BytesIO()
    np.savez_compressed(content, manifest=np.frombuffer(json.dumps(manifest).encode(), np.uint8), **arrays)
    return content.getvalue()


def _read(path: Path) -> Trajectories | None:
    """The trajectories of a file; None where there is none or its content is not what was written."""
    try:
        with np.load(path) as file:
            content: dict[str, Any] = dict(file)
        manifest = json.loads(content["manifest"].tobytes())
        arrays = [content[name] for name in ("actions", "states", "proprio", "privileged")]
        found = Trajectories(tuple(manifest["seeds"]), tuple(manifest["kinds"]), *arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return found if found.digest == manifest["digest"] else None
