"""Instructed tasks: one scene for all instructions, success on the named object, and a note of what was handled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.instructed import INSTRUCTED_TASKS, instruction_of
from pvrbench.envs.simulators.robosuite_instructed import InstructedEnv, load_task
from pvrbench.envs.spec import View

SCENES = ("coloured_row", "four_objects", "two_cubes")


def run_expert(env: InstructedEnv, name: str, *, num_steps: int | None = None) -> list[bool]:
    """Successes at each step while the expert of a task acts in an environment that may be of another task."""
    task = load_task(TASKS[name])
    theirs = InstructedEnv.__new__(InstructedEnv)
    theirs.__dict__ = {**env.__dict__, "object": instruction_of(task.spec).object}
    expert = task.make_expert(theirs, 0)
    successes: list[bool] = []
    for _ in range(num_steps or task.spec.horizon):
        successes.append(env.step(expert()).success)
        if successes[-1]:
            break
    return successes


@pytest.mark.parametrize(
    "scene", ["coloured_row", *(pytest.param(name, marks=pytest.mark.slow) for name in SCENES[1:])]
)
def test_identical_scenes_under_different_instructions_have_identical_first_frames(scene: str) -> None:
    first, *others = TASK_SETS[scene] if scene != "coloured_row" else TASK_SETS[scene][::3]
    view = View(camera="agentview", image_px=64, render="lean")
    seeds = (0, 1_000_003, 2_000_001)
    env = load_task(TASKS[first]).make_env(view)
    expected = [env.reset(seed) for seed in seeds]
    env.close()
    for name in others:
        env = load_task(TASKS[name]).make_env(view)
        for seed, one in zip(seeds, expected, strict=True):
            other = env.reset(seed)
            assert np.array_equal(one["image"], other["image"])
            assert np.array_equal(one["proprio"], other["proprio"])
            assert np.array_equal(one["state"], other["state"]), "the privileged state tells the instruction"
        env.close()


@pytest.mark.parametrize(
    "name",
    [
        name if name == "language/touch_green" else pytest.param(name, marks=pytest.mark.slow)
        for name in INSTRUCTED_TASKS
    ],
)
def test_the_expert_handles_the_named_object_alone(name: str) -> None:
    task = load_task(TASKS[name])
    env = task.make_env(None)
    for seed in range(2 if "touch" in name else 10):
        env.reset(seed)
        assert env.handled() == ()
        assert run_expert(env, name)[-1]
        assert env.handled() == (instruction_of(task.spec).object,)
    env.close()


@pytest.fixture(scope="module")
def blue_env() -> Iterator[InstructedEnv]:
    env = load_task(TASKS["language/touch_blue"]).make_env(None)
    yield env
    env.close()


def test_another_object_is_no_success_and_is_noted(blue_env: InstructedEnv) -> None:
    env = blue_env
    env.reset(3)
    assert not any(run_expert(env, "language/touch_red"))
    assert env.handled() == ("red",)
    assert not any(run_expert(env, "language/touch_blue")), "who tries one after another has not understood"
    assert env.handled() == ("red", "blue")
    env.reset(3)
    assert run_expert(env, "language/touch_blue")[-1], "an episode knows nothing of the one before"


def test_the_colours_change_places(blue_env: InstructedEnv) -> None:
    orders = set[tuple[int, ...]]()
    for seed in range(20):
        blue_env.reset(seed)
        ys = [float(blue_env.facts()[f"{name}_pos"][1]) for name in ("red", "green", "blue", "yellow")]
        assert min(np.diff(sorted(ys))) > 0.08, "the hand has room between two cubes"
        orders.add(tuple(int(place) for place in np.argsort(ys)))
    assert len(orders) > 8


def test_an_object_that_is_not_in_the_scene_is_refused() -> None:
    spec = TASKS["language/touch_red"]
    absent = replace(spec, instruction=replace(instruction_of(spec), object="purple"))
    with pytest.raises(ValueError, match=r"'purple', and the scene 'coloured_row' has red, green, blue, yellow\. Name"):
        load_task(absent).make_env(None)


def test_instructions_of_a_scene_differ_and_paraphrases_are_new() -> None:
    for scene in SCENES:
        instructions = [instruction_of(TASKS[name]) for name in TASK_SETS[scene]]
        texts = [text for each in instructions for text in (each.text, *each.paraphrases)]
        assert len(set(texts)) == len(texts)
        assert len({each.object for each in instructions}) == len(instructions) > 1
        assert all(len(each.paraphrases) == 3 for each in instructions)


def test_a_task_with_a_scene_of_its_own_is_told_what_it_is_about() -> None:
    told = instruction_of(TASKS["metaworld/door-open-v3"])
    assert (told.scene, told.text) == ("metaworld/door-open-v3", "open the door by its handle")
    assert len(TASK_SETS["mt10"]) == 10
