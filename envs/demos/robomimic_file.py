"""Demonstrations of other projects in robomimic's HDF5 schema, in and out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from pvrbench.common.files import write_whole
from pvrbench.envs.base import Array, SimulationError, Task, TaskEnv
from pvrbench.envs.demos.collection import MAX_UNEXPLAINED, replay_stepwise
from pvrbench.envs.demos.demo_file import Demo, DemoError, DemoFile, check_readable, read_array, write_demos
from pvrbench.envs.demos.demo_set import DemoSet
from pvrbench.envs.demos.robomimic_metadata import check_metadata, metadata_of
from pvrbench.envs.pictures.frames import render_demo
from pvrbench.envs.spec import FIRST_SUCCESS, DemoEnd, View

# Share of the motion that imported actions may leave unexplained without a note.
EXACT = 0.01
# Rounding of numbers that were stored with less precision.
ROUNDING = 1e-6


class Imported(NamedTuple):
    """What an import made.

    Attributes:
        demos: the demonstrations.
        notes: what was changed, left out, or does not fit exactly; one sentence each.
    """

    demos: DemoSet
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A demonstration of the source, or why it is left out, and how well it fits.

    Attributes:
        demo: None where it is left out.
        reason: why; empty where it is taken.
        num_clipped: entries of its actions outside [-1, 1].
        unexplained: share of its motion that its actions do not bring about.
    """

    demo: Demo | None
    reason: str = ""
    num_clipped: int = 0
    unexplained: float = 0.0


def export_demos(task: Task, demos: DemoSet, path: Path, view: View | None = None) -> None:
    """Writes a copy that robomimic trains on and whose environment it makes by its own name.

    `next_obs` is filled in, and there are images of one camera where a view is given.

    Args:
        task: what the demonstrations are of.
        demos: demonstrations.
        path: the new file.
        view: camera and size of `obs/<camera>_image`; None writes no images.

    Raises:
        DemoError: the file cannot be written.
    """
    env = None if view is None else task.make_env(view)

    def fill(temporary: Path) -> None:
        temporary.write_bytes(demos.path.read_bytes())
        with h5py.File(temporary, "r+", locking=False) as target:
            data: Any = target["data"]
            data.attrs["env_args"] = json.dumps(metadata_of(task.spec))
            data.attrs["pvrbench_task"] = task.spec.name
            for index in range(len(demos)):
                demo, group = demos.demo(index), data[f"demo_{index}"]
                if env is not None and view is not None:
                    group["obs"][f"{view.camera}_image"] = render_demo(env, demo)
                _fill_next(group)

    try:
        write_whole(path, fill)
    except OSError as error:
        raise DemoError(f"Cannot write {path}: {error}. Free space or give another path.") from error
    finally:
        if env is not None:
            env.close()


def _fill_next(group: Any) -> None:
    """The observation after each action; the last one repeats, since nothing is recorded after it."""
    for name, values in group["obs"].items():
        group[f"next_obs/{name}"] = np.concatenate([values[1:], values[-1:]])


def import_demos(
    task: Task, source: Path, path: Path, num_demos: int | None = None, end: DemoEnd = FIRST_SUCCESS
) -> Imported:
    """Makes a demonstration file of ours from a robomimic one.

    Every state is put into the installed simulator and the recorded action is tried from there: what comes out has to
    be the next recorded state. Proprioception and privileged state are observed anew, so that they mean what they mean
    in this benchmark. An episode is cut at its end; one that never solves the task is left out, and a note says so.

    Args:
        task: what the demonstrations are of.
        source: a file with `data/demo_<i>/{states,actions}`.
        path: the new file; there must be none.
        num_demos: how many to take, in the order of their numbers; None takes all.
        end: where the demonstrations are to end.

    Raises:
        DemoError: a file is there already, or the source is damaged, of another task, simulator, robot or controller,
            or its actions do not bring about its states.
    """
    if path.exists():
        raise DemoError(
            f"{path} is there already ({DemoFile(path).manifest}). An import never replaces it: move it away, or set "
            "PVRBENCH_CACHE to another folder."
        )
    check_readable(source)
    env = task.make_env(None)
    taken: dict[str, _Taken] = {}
    try:
        with h5py.File(source, "r", locking=False) as file:
            data: Any = file["data"]
            if "env_args" in data.attrs:
                check_metadata(task.spec, str(data.attrs["env_args"]))
            noise = float(data.attrs.get("action_noise", 0.0))
            for name, seed, states, actions in _episodes(data):
                taken[name] = _take(task, env, (seed, states, actions, noise), end)
                if num_demos is not None and sum(item.demo is not None for item in taken.values()) >= num_demos:
                    break
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DemoError(f"{source} cannot be imported as demonstrations of {task.spec.name}: {error}.") from error
    finally:
        env.close()
    demos = [item.demo for item in taken.values() if item.demo is not None]
    _check_taken(task, source, taken)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    write_demos(path, task.spec, demos, action_noise=noise, end=end, source=f"{source.name} (sha256 {digest[:16]})")
    return Imported(DemoSet.open(path, task.spec, noise, end), _notes(taken))


def _episodes(data: Any) -> Iterator[tuple[str, int, Array, Array]]:
    """Name, seed, states and actions of every demonstration, in the order of their numbers."""
    names = [name for name in data if name.startswith("demo_") and name[5:].isdigit()]
    for name in sorted(names, key=lambda name: int(name[5:])):
        states, actions = (read_array(data[name], key) for key in ("states", "actions"))
        # Where the source tells no reset seed, what a seed writes into the model is that of seed 0.
        yield name, int(data[name].attrs.get("seed", 0)), states.astype(np.float64), actions.astype(np.float32)


def _take(task: Task, env: TaskEnv, episode: tuple[int, Array, Array, float], end: DemoEnd) -> _Taken:
    seed, states, actions, noise = episode
    width = task.spec.action_dim
    if actions.ndim != 2 or actions.shape[1] != width or len(actions) == 0:
        raise DemoError(f"actions of shape {actions.shape}; expected T actions of width {width}")
    if states.ndim != 2 or len(states) < len(actions):
        return _Taken(None, f"it has {len(actions)} actions and {len(states)} states")
    for name, array in (("states", states), ("actions", actions)):
        if not np.isfinite(array).all():
            return _Taken(None, f"its {name} are not finite")
    num_clipped = int((np.abs(actions) > 1.0 + ROUNDING).sum())
    actions = np.clip(actions, -1.0, 1.0)
    try:
        replay = replay_stepwise(env, seed, states, actions, noise)
    except SimulationError:
        return _Taken(None, "the physics became unstable")
    unexplained = replay.unexplained(states, next((i + 1 for i, ok in enumerate(replay.solved) if ok), len(actions)))
    length = _length(replay.solved, end, task.spec.horizon)
    if isinstance(length, str):
        return _Taken(None, length, num_clipped, unexplained)
    seen = replay.observations[:length]
    demo = Demo(
        seed,
        actions[:length],
        states[:length],
        np.stack([observation["proprio"] for observation in seen]),
        np.stack([observation["state"] for observation in seen]),
    )
    return _Taken(demo, "", num_clipped, unexplained)


def _length(solved: tuple[bool, ...], end: DemoEnd, horizon: int) -> int | str:
    """Where an episode is cut, or why it cannot end so."""
    if True not in solved:
        return "it never solves the task"
    wanted = horizon if end.rule == "full_horizon" else solved.index(True) + 1 + end.hold_steps
    if len(solved) < wanted:
        return f"it has {len(solved)} steps and would have to go on to {wanted} (end rule {end})"
    return wanted if solved[wanted - 1] else f"the task is not solved at its last step (end rule {end})"


def _check_taken(task: Task, source: Path, taken: dict[str, _Taken]) -> None:
    """Refuses a source whose actions mean something else, or of which nothing is left."""
    worst = sorted(item.unexplained for item in taken.values())
    median = worst[len(worst) // 2] if worst else 0.0
    if median > MAX_UNEXPLAINED:
        raise DemoError(
            f"{source} cannot be imported as demonstrations of {task.spec.name}: tried from the recorded states, its "
            f"actions differ from the recorded motion by {median:.0%} of it, where at most {MAX_UNEXPLAINED:.0%} is "
            "accepted. They may be absolute poses, of another scale, frame or controller (convert them first), or "
            "executed with noise that the file does not state (attribute action_noise of `data`)."
        )
    if not any(item.demo is not None for item in taken.values()):
        reasons = sorted({item.reason for item in taken.values()}) or ["it has no demo_<i>"]
        raise DemoError(
            f"{source} has no demonstration that solves {task.spec.name} ({'; '.join(reasons)}); is it of another task?"
        )


def _notes(taken: dict[str, _Taken]) -> tuple[str, ...]:
    notes = [f"{name} was left out: {item.reason}." for name, item in taken.items() if item.demo is None]
    kept = {name: item for name, item in taken.items() if item.demo is not None}
    num_clipped = sum(item.num_clipped for item in kept.values())
    if num_clipped:
        total = sum(item.demo.actions.size for item in kept.values() if item.demo is not None)
        notes.append(f"{num_clipped} of {total} entries of the actions were outside [-1, 1] and were clipped.")
    inexact = [item.unexplained for item in kept.values() if item.unexplained > EXACT]
    if inexact:
        notes.append(
            f"{len(inexact)} of {len(kept)} demonstrations do not replay exactly: up to {max(inexact):.0%} of the "
            "motion differs from what their actions do here."
        )
    return tuple(notes)
