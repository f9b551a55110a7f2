"""What `lean` may change in a picture, and what not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.engine.context import load_task
from pvrbench.envs.base import Array
from pvrbench.envs.spec import RenderMode, View


@pytest.mark.parametrize("name", ["metaworld/assembly-v3", "robosuite/door"])
def test_lean_shows_the_same_scene_and_the_same_physics(name: str) -> None:
    task = load_task(tasks()[name])
    pictures: dict[RenderMode, Array] = {}
    states: list[Array] = []
    modes: tuple[RenderMode, ...] = ("full", "lean")
    for mode in modes:
        env = task.make_env(View(camera=task.spec.cameras[0], image_px=96, render=mode))
        env.reset(0)
        for _ in range(5):
            env.step(np.full(task.spec.action_dim, 0.3, np.float32))
        pictures[mode] = env.observe()["image"].astype(float)
        states.append(env.get_state())
        env.close()
    assert np.array_equal(states[0], states[1])
    assert np.corrcoef(pictures["full"].ravel(), pictures["lean"].ravel())[0, 1] > 0.9
    # Holes in a mesh show up as patches of another colour; edges and shadows are few and faint.
    assert np.mean(np.abs(pictures["full"] - pictures["lean"]).max(-1) > 60) < 0.06


def test_environments_of_one_scene_draw_apart_and_outlive_one_another() -> None:
    task = load_task(tasks()["metaworld/assembly-v3"])
    view = View(camera=task.spec.cameras[0], image_px=48, render="lean")
    first, second = task.make_env(view), task.make_env(view)
    pictures = [first.reset(0)["image"], second.reset(1)["image"]]
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(first.observe()["image"], pictures[0])
    first.close()
    first.close()
    assert np.array_equal(second.observe()["image"], pictures[1])
    second.close()
    third = task.make_env(view)
    assert np.array_equal(third.reset(0)["image"], pictures[0])
    third.close()


def test_encoders_can_be_loaded_after_the_first_picture() -> None:
    # Each brings an LLVM of its own, and in the wrong order the process ends without a word.
    script = (
        "from pvrbench.envs.catalog import TASKS; from pvrbench.envs.simulators.metaworld import load_task\n"
        "from pvrbench.envs.spec import View\n"
        "view = View(camera='corner2', image_px=32, render='lean')\n"
        "load_task(TASKS['metaworld/assembly-v3']).make_env(view).reset(0)\n"
        "import timm; print('loaded')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "loaded" in done.stdout, (done.returncode, done.stderr[-500:])
