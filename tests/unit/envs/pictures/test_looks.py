"""Looks change pictures and never the physics; what a reset recolours is drawn."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from pvrbench.envs.base import Array, Task
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.looks import LOOK_SETS, LOOKS, LookError, expand_looks, refusal
from pvrbench.envs.pictures.context import mujoco
from pvrbench.envs.pictures.geometry import Pinhole
from pvrbench.envs.pictures.looks.distractors import stand_bodies
from pvrbench.envs.pictures.looks.scene import LookScene, apply_look
from pvrbench.envs.pictures.rendering import ViewRenderer
from pvrbench.envs.simulators.gymnasium import load_task
from pvrbench.envs.simulators.metaworld import CAMERAS
from pvrbench.envs.simulators.robosuite import without_collision_geoms
from pvrbench.envs.spec import Look, TaskSpec, View


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


def task_named(name: str) -> Task:
    spec = TASKS[name]
    return cast("Callable[[TaskSpec], Task]", pkgutil.resolve_name(spec.entry_point))(spec)


def saved(model: Any) -> bytes:
    """All that a model holds."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


SUITES = ("metaworld/assembly-v3", "robosuite/lift")


# A picture of robosuite's scene under a look takes ten times as long: its textures are large.
@pytest.fixture(scope="module", params=[SUITES[0], pytest.param(SUITES[1], marks=pytest.mark.slow)])
def drawn(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, list[Array]], Any]]:
    """Pictures of one state by axis: nominal and the three levels; and what draws them."""
    task = task_named(request.param)
    env = cast("Any", task.make_env(None))
    env.reset(3)
    model, data = env.scene
    before = saved(model), env.get_state().tobytes()
    is_metaworld = request.param.startswith("metaworld")
    camera = CAMERAS["left_cap2"] if is_metaworld else None
    model_of_pictures = model if is_metaworld else without_collision_geoms(model)

    def picture(look: str) -> Array:
        view = View(camera=task.spec.cameras[0], image_px=64, render="lean", look=look)
        renderer = ViewRenderer(model_of_pictures, view, camera, task.spec.scenery)
        image = renderer.render(data)
        renderer.close()
        return image

    keeper = ViewRenderer(
        model_of_pictures, View(camera=task.spec.cameras[0], image_px=64, render="lean"), camera, task.spec.scenery
    )
    nominal = keeper.render(data)
    axes = [row.name for row in LOOKS.values() if row.num_levels]
    yield {axis: [nominal, *(picture(f"{axis}@{level}") for level in (1, 2, 3))] for axis in axes}, picture
    # One context serves all looks of a scene, and none of them leaves a trace: not in pictures, model or state.
    assert np.array_equal(keeper.render(data), nominal)
    assert (saved(model), env.get_state().tobytes()) == before
    keeper.close()
    env.close()


def changed(image: Array, nominal: Array) -> float:
    """Share of the pixels that a person sees to be different."""
    return float((np.abs(image.astype(int) - nominal).max(axis=-1) > 12).mean())


def test_every_level_of_every_axis_is_visible_and_shows_a_scene(drawn: tuple[dict[str, list[Array]], Any]) -> None:
    for axis, (nominal, *levels) in drawn[0].items():
        for level, image in enumerate(levels, start=1):
            assert changed(image, nominal) > 0.004, (axis, level)
            assert (image == 255).all(axis=-1).mean() < 0.12, (axis, level)
            assert image.std() > 12.0, (axis, level)


def test_stronger_levels_change_more(drawn: tuple[dict[str, list[Array]], Any]) -> None:
    for axis, (nominal, *levels) in drawn[0].items():
        differences = [float(np.abs(image.astype(int) - nominal).mean()) for image in levels]
        assert differences[2] > 1.1 * differences[0], axis


def test_a_look_is_the_same_whenever_it_is_drawn_and_another_for_each_seed(
    drawn: tuple[dict[str, list[Array]], Any],
) -> None:
    pictures, picture = drawn
    for axis in ("table_texture/pattern", "camera/position", "distractors", "image_noise/gaussian", "combined"):
        assert np.array_equal(picture(f"{axis}@2"), pictures[axis][2]), axis
        assert changed(picture(f"{axis}@2s1"), pictures[axis][2]) > 0.004, axis


@pytest.mark.parametrize("name", SUITES)
def test_light_from_the_left_and_from_the_right_differ(name: str) -> None:
    task = task_named(name)

    def picture(look: str) -> Array:
        env = task.make_env(View(camera=task.spec.cameras[0], image_px=48, render="lean", look=look))
        image = env.reset(3)["image"]
        env.close()
        return image

    left, right = (picture(f"light/cast_{side}@2").astype(int) for side in ("left", "right"))
    assert np.abs(left - right).mean() > 8.0


@pytest.mark.parametrize("name", SUITES)
def test_states_are_the_same_bit_for_bit_under_a_changed_look(name: str) -> None:
    task = task_named(name)
    plain = View(camera=task.spec.cameras[0], image_px=48, render="lean")
    images, states = play(task, plain)
    shifted, same = play(task, replace(plain, look="combined@3"))
    assert same == states
    assert all(changed(image, other) > 0.1 for image, other in zip(images, shifted, strict=True))


def test_distractors_stand_apart_from_one_another_and_from_what_the_task_needs() -> None:
    task = task_named("metaworld/assembly-v3")
    scenery, env = task.spec.scenery, cast("Any", task.make_env(None))
    assert scenery is not None
    assert scenery.workspace is not None
    env.reset(5)
    model, data = env.scene
    scene = LookScene(model, scenery)
    apply_look(scene, Look.parse("distractors@3"))
    eye = np.array([-0.5, 0.0, 0.4])
    forward = np.array([0.5, 0.6, -0.4]) / np.linalg.norm([0.5, 0.6, -0.4])
    side = np.cross(forward, [0.0, 0.0, 1.0])
    up = np.cross(side / np.linalg.norm(side), forward)
    bodies = stand_bodies(scene.bodies, model, data, scenery, Pinhole(eye, forward, up, float(np.tan(np.pi / 8))))
    env.close()
    assert len(bodies) == 9
    centre, inner = np.array(scenery.workspace.centre[:2]), np.array(scenery.workspace.inner)
    for number, body in enumerate(bodies):
        place = np.array(body.pos[:2])
        assert (np.abs(place - centre) > inner).any()
        for other in bodies[:number]:
            assert np.linalg.norm(place - other.pos[:2]) > body.radius + other.radius
        for part in ("RoundNut", "peg"):
            assert np.linalg.norm(place - data.body(part).xpos[:2]) > body.radius + 0.02


def test_a_scene_that_names_no_table_cannot_have_another_one() -> None:
    bins = TASKS["robosuite/pick_place_can"]
    assert refusal(Look.parse("light/darker@1"), bins) is None
    assert "distractors changes the workspace" in str(refusal(Look.parse("distractors@1"), bins))
    assert "cannot have the look combined@1" in str(refusal(Look.parse("combined@1"), bins))
    unknown = replace(bins, scenery=None)
    assert "table_texture/red_wood changes the table" in str(refusal(Look.parse("table_texture/red_wood@1"), unknown))
    assert refusal(Look.parse("camera/rotation@1"), unknown) is None
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/><camera name='c'/></worldbody></mujoco>")
    with pytest.raises(LookError, match="changes the objects, which this scene does not name"):
        ViewRenderer(model, View(camera="c", image_px=16, render="full", look="object_colour@1"))


def test_sets_of_published_protocols_name_looks_that_exist_and_say_where_they_deviate() -> None:
    for row in LOOK_SETS.values():
        assert expand_looks([row.name, row.looks[0]]) == row.looks
        assert row.deviations
        assert all(refusal(Look.parse(look), TASKS["robosuite/lift"]) is None for look in row.looks)
        assert all(str(Look.parse(look)) == look for look in row.looks)
    assert len(LOOK_SETS["burns"].looks) == 10


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
