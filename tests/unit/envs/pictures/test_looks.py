"""Looks change pictures and never the physics; what a reset recolours is drawn."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from pvrbench.envs.base import Array, Task
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.looks import LOOKS, LookError
from pvrbench.envs.pictures.context import mujoco
from pvrbench.envs.pictures.rendering import ViewRenderer
from pvrbench.envs.simulators.gymnasium import load_task
from pvrbench.envs.spec import Look, TaskSpec, View

ALL = [str(Look(row.name, level)) for row in LOOKS.values() for level in range(1, row.num_levels + 1)]


def play(task: Task, view: View) -> tuple[list[Array], list[bytes]]:
    """Pictures and states of the first steps of an expert."""
    env = task.make_env(view)
    try:
        images, states = [env.reset(3)["image"]], [env.get_state().tobytes()]
        expert = task.make_expert(env, 3)
        for _ in range(3):
            images.append(env.step(expert()).observation["image"])
            states.append(env.get_state().tobytes())
    finally:
        env.close()
    return images, states


@pytest.mark.parametrize("name", ["metaworld/assembly-v3", "robosuite/lift"])
def test_looks_change_pictures_visibly_and_states_not_at_all(name: str) -> None:
    spec = TASKS[name]
    task = cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)
    plain = View(camera=spec.cameras[0], image_px=64, render="lean")
    nominal, states = play(task, plain)
    # One context for all looks of a scene; none of them leaves a trace in another's pictures.
    env = task.make_env(plain)
    for look in ALL[1::3]:
        view = View(camera=spec.cameras[0], image_px=64, render="lean", look=look)
        images, states_there = play(task, view)
        assert states_there == states, look
        for image, other in zip(images, nominal, strict=True):
            assert np.abs(image.astype(int) - other).mean() > 3.0, look
            assert (image == 255).all(axis=-1).mean() < 0.05, look
            assert image.std() > 4.0, look
        assert np.array_equal(env.reset(3)["image"], nominal[0]), look
    env.close()


def test_stronger_levels_change_more() -> None:
    spec = TASKS["metaworld/assembly-v3"]
    task = cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)

    def mean(look: str) -> float:
        return float(play(task, View(camera="corner2", image_px=48, render="lean", look=look))[0][0].mean())

    darker = [mean(look) for look in ("nominal", *(f"light/darker@{level}" for level in (1, 2, 3)))]
    brighter = [mean(look) for look in ("nominal", *(f"light/brighter@{level}" for level in (1, 2, 3)))]
    assert darker == sorted(darker, reverse=True)
    assert brighter == sorted(brighter)


def test_a_look_has_one_name_and_wrong_names_are_answered() -> None:
    view = View(camera="corner", image_px=32, render="lean", look="light/darker")
    assert view == View(camera="corner", image_px=32, render="lean", look="light/darker@1s0")
    assert view.look == "light/darker@1"
    assert str(Look.parse("light/darker@3s12")) == "light/darker@3s12"
    for name in ("light/darker@0", "nominal@1", "light darker", "light/darker@2s"):
        with pytest.raises(ValueError, match="is not the name of a look"):
            View(camera="corner", image_px=32, render="lean", look=name)
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/><camera name='c'/></worldbody></mujoco>")
    for name, answer in (("light/darkr@1", "Did you mean 'light/darker'"), ("light/darker@4", "has levels 1 to 3")):
        with pytest.raises(LookError, match=answer):
            ViewRenderer(model, View(camera="c", image_px=16, render="full", look=name))


SCENE = """<mujoco><asset><texture name="wood" type="2d" builtin="flat" rgb1=".5 .5 .5" width="8" height="8"/>
<material name="wood" texture="wood"/></asset>
<worldbody><light pos="0 0 3"/><camera name="cam" pos="0 0 2"/><geom type="plane" size="2 2 .1" material="wood"/>
<body pos="0 0 .2"><joint name="x" type="slide" axis="1 0 0"/><geom name="ball" type="sphere" size=".2"/></body>
</worldbody><actuator><motor joint="x"/></actuator></mujoco>"""


class Recoloured(gymnasium.Env[Any, Any]):
    """A ball that its reset colours red or green, before a wall that its reset paints dark or bright."""

    def __init__(self, **_: Any) -> None:
        self.model: Any = mujoco.MjModel.from_xml_string(SCENE)
        self.data: Any = mujoco.MjData(self.model)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def _get_obs(self) -> Array:
        return np.concatenate([self.data.qpos, self.data.qvel])

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[Any, dict[str, Any]]:
        is_odd = (seed or 0) % 2
        self.model.geom("ball").rgba[:] = [1, 0, 0, 1] if is_odd else [0, 1, 0, 1]
        self.model.tex_data[:] = 200 if is_odd else 30
        return self._get_obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        return self._get_obs(), 0.0, False, False, {"success": False}


@pytest.mark.parametrize("look", ["nominal", "light/darker@1"])
def test_colours_and_textures_that_a_reset_writes_are_drawn(look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gymnasium.registry, "Recoloured-v0", EnvSpec("Recoloured-v0", entry_point=Recoloured))
    spec = TaskSpec(
        name="own/recoloured",
        entry_point="pvrbench.envs.simulators.gymnasium:load_task",
        description="none",
        horizon=5,
        control_hz=10,
        cameras=("cam",),
        proprio_dim=1,
        state_dim=2,
        action_dim=1,
        success_rule="never",
        packages=("mujoco",),
        options={"environment": "Recoloured-v0", "proprio_start": 0, "proprio_stop": 1},
    )
    task = load_task(spec)
    view = View(camera="cam", image_px=32, render="full", look=look)
    # Two environments draw with one context and must not see each other's colours.
    first, second = task.make_env(view), task.make_env(view)
    try:
        odd, even = first.reset(1)["image"], second.reset(2)["image"]
        for image, channel in ((odd, 0), (even, 1)):
            ball = image[16, 16].astype(int)
            assert ball.argmax() == channel
            assert ball[channel] > 60
        wall = [int(image[2, 2].mean()) for image in (odd, even)]
        assert wall[0] > wall[1] + 30
        assert np.array_equal(first.observe()["image"], odd)
        assert np.array_equal(second.observe()["image"], even)
        assert np.array_equal(first.reset(2)["image"], even)
    finally:
        first.close()
        second.close()
