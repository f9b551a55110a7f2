"""Demonstrations of other projects in robomimic's HDF5 schema, in and out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pvrbench.envs.base import Array, SimulationError, Task, TaskEnv
from pvrbench.envs.demos.demo_file import Demo, DemoError, DemoFile, read_array, write_demos
from pvrbench.envs.pictures.frames import render_demo
from pvrbench.envs.spec import View


def export_demos(task: Task, file: DemoFile, path: Path, view: View | None = None) -> None:
    """Writes a copy that robomimic trains on: `next_obs` filled in, and images of one camera where a view is given.

    Args:
        task: what the demonstrations are of.
        file: demonstrations.
        path: the new file.
        view: camera and size of `obs/<camera>_image`; None writes no images.

    Raises:
        DemoError: the file cannot be written.
    """
    env = None if view is None else task.make_env(view)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path, part)
        with h5py.File(part, "r+") as target:
            for index in range(len(file)):
                demo, group = file.demo(index), target[f"data/demo_{index}"]
                if env is not None and view is not None:
                    _observations(group)[f"{view.camera}_image"] = render_demo(env, demo)
                _fill_next(group)
        part.replace(path)
    except OSError as error:
        raise DemoError(f"Cannot write {path}: {error}. Free space or give another path.") from error
    finally:
        part.unlink(missing_ok=True)
        if env is not None:
            env.close()


def _observations(group: Any) -> Any:
    return group["obs"]


def _fill_next(group: Any) -> None:
    """The observation after each action; the last one repeats, since episodes end at success."""
    for name, values in group["obs"].items():
        group[f"next_obs/{name}"] = np.concatenate([values[1:], values[-1:]])


def import_demos(task: Task, source: Path, path: Path, num_demos: int | None = None) -> DemoFile:
    """Makes a demonstration file of ours from a robomimic one: its states are put into the installed simulator.

    Proprioception and privileged state are observed anew, so that they mean what they mean in this benchmark. An
    episode is cut where the task is first solved, as ours are; one that never is is left out.

    Args:
        task: what the demonstrations are of.
        source: a file with `data/demo_<i>/{states,actions}`.
        path: the new file.
        num_demos: how many to take, in the order of their numbers; None takes all.

    Raises:
        DemoError: the source is damaged, of another action or state width, or solves nothing.
    """
    env = task.make_env(None)
    demos: list[Demo] = []
    try:
        with h5py.File(source, "r") as file:
            data: Any = file["data"]
            for name in sorted((name for name in data if name.startswith("demo_")), key=lambda name: int(name[5:])):
                states = read_array(data[name], "states").astype(np.float64)
                actions = read_array(data[name], "actions").astype(np.float32)
                # Where the source tells no reset seed, what a seed writes into the model is that of seed 0.
                demo = _observe(task, env, int(data[name].attrs.get("seed", 0)), states, actions)
                if demo is not None:
                    demos.append(demo)
                if num_demos is not None and len(demos) >= num_demos:
                    break
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DemoError(f"{source} cannot be imported as demonstrations of {task.spec.name}: {error}") from error
    finally:
        env.close()
    if not demos:
        raise DemoError(f"{source} has no demonstration that solves {task.spec.name}; is it of another task?")
    write_demos(path, task.spec, demos, is_imported=True)
    return DemoFile(path, task.spec)


def _observe(task: Task, env: TaskEnv, seed: int, states: Array, actions: Array) -> Demo | None:
    if actions.ndim != 2 or actions.shape[1] != task.spec.action_dim or len(states) < len(actions):
        raise DemoError(
            f"actions of shape {actions.shape} and {len(states)} states; expected T actions of width "
            f"{task.spec.action_dim} and as many states."
        )
    env.reset(seed)
    proprio: list[Array] = []
    privileged: list[Array] = []
    for step, action in enumerate(actions):
        env.set_state(states[step])
        observation = env.observe()
        proprio.append(observation["proprio"])
        privileged.append(observation["state"])
        try:
            solved = env.step(action).success
        except SimulationError:
            return None
        if solved:
            end = step + 1
            clipped = np.clip(actions[:end], -1.0, 1.0)
            return Demo(seed, clipped, states[:end], np.stack(proprio), np.stack(privileged))
    return None
