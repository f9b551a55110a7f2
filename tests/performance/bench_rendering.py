"""Frames a second of one process, `lean` against the simulator's own picture; prints one JSON object.

Each frame is a restored state of a demonstration, as when demonstrations are rendered. Both modes take turns, so that
what else the machine does falls on both. Run as `python tests/performance/bench_rendering.py [--px N] [TASK ...]`.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
import time
from collections.abc import Callable
from typing import cast

from pvrbench.envs.base import Array, Task, TaskEnv
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.demos.collection import record_demo
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.envs.spec import RenderMode, TaskSpec, View

DEFAULT_TASKS = ("metaworld/assembly-v3", "robosuite/lift")
MODES: tuple[RenderMode, ...] = ("lean", "full")
ROUNDS, FRAMES = 5, {"lean": 60, "full": 12}


def frames_per_s(env: TaskEnv, states: Array, num_frames: int) -> float:
    """Restored, observed and rendered states a second."""
    start = time.perf_counter()
    for index in range(num_frames):
        env.set_state(states[index % len(states)])
        env.observe()
    return num_frames / (time.perf_counter() - start)


def measure(name: str, image_px: int) -> dict[str, float]:
    """Best rate of each mode, and their ratio round by round."""
    task = cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(TASKS[name].entry_point))(TASKS[name])
    envs = {mode: task.make_env(View(camera=task.spec.cameras[0], image_px=image_px, render=mode)) for mode in MODES}
    demo = record_demo(task, envs["lean"], 0)
    if demo is None:
        raise RuntimeError(f"The expert of {name} failed on seed 0.")
    for env in envs.values():
        env.reset(demo.seed)
    rounds = [{mode: frames_per_s(env, demo.states, FRAMES[mode]) for mode, env in envs.items()} for _ in range(ROUNDS)]
    for env in envs.values():
        env.close()
    ratios = sorted(item["lean"] / item["full"] for item in rounds)
    return {
        **{f"{mode}_frames_per_s": round(max(item[mode] for item in rounds), 1) for mode in MODES},
        "lean_over_full": round(ratios[len(ratios) // 2], 1),
    }


def main() -> None:
    """Measures the tasks of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--px", type=int, default=112)
    parser.add_argument("tasks", nargs="*", default=DEFAULT_TASKS)
    options = parser.parse_args()
    result = {name: measure(name, options.px) for name in options.tasks}
    sys.stdout.write(json.dumps({"gl": gl_renderer(), "image_px": options.px, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
