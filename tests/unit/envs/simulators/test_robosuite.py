"""The robosuite adapter: exact resets, the untouched simulator's states, pictures, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pvrbench.envs.base import Array, SimulationError
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.simulators.robosuite import RobosuiteEnv, load_task, make_simulator
from pvrbench.envs.spec import View

ROBOSUITE = [name for name in TASKS if name.startswith("robosuite/")]
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (100, 7)).astype(np.float32)


@pytest.fixture(scope="module", params=ROBOSUITE)
def used_env(request: pytest.FixtureRequest) -> Iterator[RobosuiteEnv]:
    """An environment with a past: other seeds, other actions, an episode cut off in the middle."""
    env = load_task(TASKS[request.param]).make_env(None)
    for seed in (11, 12):
        env.reset(seed)
        for action in ACTIONS[seed : seed + 15]:
            env.step(-action)
    yield env
    env.close()


def test_states_equal_the_untouched_simulators_bit_for_bit(used_env: RobosuiteEnv) -> None:
    untouched = make_simulator(str(used_env.spec.options["environment"]))
    untouched.rng.bit_generator.state = np.random.default_rng(5).bit_generator.state
    untouched.reset()
    used_env.reset(5)
    assert np.array_equal(used_env.get_state(), untouched.sim.get_state().flatten())
    for action in ACTIONS:
        _, reward, _, _ = untouched.step(action)
        result = used_env.step(action)
        assert np.array_equal(used_env.get_state(), untouched.sim.get_state().flatten())
        assert result.success == bool(untouched._check_success()) == (reward == 1.0)
    untouched.close()


def test_observation_has_the_catalogs_widths_and_robosuites_values(used_env: RobosuiteEnv) -> None:
    observation = used_env.reset(7)
    assert observation["proprio"].shape == (used_env.spec.proprio_dim,)
    assert observation["state"].shape == (used_env.spec.state_dim,)
    assert observation["image"].shape == (0, 0, 3)
    untouched = make_simulator(str(used_env.spec.options["environment"]))
    untouched.rng.bit_generator.state = np.random.default_rng(7).bit_generator.state
    theirs = untouched.reset()
    keys = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    expected = np.concatenate([theirs[key] for key in keys])
    assert np.array_equal(observation["proprio"], expected.astype(np.float32))
    untouched.close()


def test_another_seed_is_another_initial_state(used_env: RobosuiteEnv) -> None:
    states = [used_env.reset(seed)["state"] for seed in (1, 2, 1)]
    assert np.array_equal(states[0], states[2])
    assert not np.allclose(states[0], states[1])


def test_observations_share_no_memory(used_env: RobosuiteEnv) -> None:
    first = used_env.reset(3)
    proprio, state = first["proprio"].copy(), first["state"].copy()
    for action in ACTIONS[:5]:
        used_env.step(action)
    assert np.array_equal(first["proprio"], proprio)
    assert np.array_equal(first["state"], state)


def test_actions_are_clipped(used_env: RobosuiteEnv) -> None:
    used_env.reset(3)
    used_env.step(np.full(7, 9.0, np.float32))
    state = used_env.get_state()
    used_env.reset(3)
    used_env.step(np.full(7, 1.0, np.float32))
    assert np.array_equal(state, used_env.get_state())


def test_action_that_is_not_finite_is_refused(used_env: RobosuiteEnv) -> None:
    used_env.reset(3)
    with pytest.raises(SimulationError, match=r"is not finite; expected numbers in \[-1, 1\]"):
        used_env.step(np.full(7, np.nan, np.float32))


def test_state_of_another_task_is_refused(used_env: RobosuiteEnv) -> None:
    used_env.reset(3)
    with pytest.raises(ValueError, match="belongs to another task or simulator version"):
        used_env.set_state(np.zeros(3))


@pytest.mark.parametrize("name", ["robosuite/door", "robosuite/stack"])
def test_restored_state_gives_the_live_picture_and_observation(name: str) -> None:
    env = load_task(TASKS[name]).make_env(View(camera="agentview", image_px=64, render="lean"))
    observations = [env.reset(4)]
    states = [env.get_state()]
    for action in ACTIONS[:4]:
        observations.append(env.step(action).observation)
        states.append(env.get_state())
    env.reset(9)
    env.reset(4)
    for observation, state in zip(observations, states, strict=True):
        env.set_state(state)
        assert np.array_equal(env.observe()["image"], observation["image"])
        assert np.array_equal(env.observe()["state"], observation["state"])
    env.close()


def test_several_environments_in_one_process_do_not_disturb_each_other() -> None:
    envs = [load_task(TASKS[name]).make_env(None) for name in ("robosuite/lift", "robosuite/lift", "robosuite/door")]
    alone: list[Array] = []
    for env in envs:
        env.reset(6)
        for action in ACTIONS[:10]:
            env.step(action)
        alone.append(env.get_state())
    for env in envs:
        env.reset(6)
    for action in ACTIONS[:10]:
        for env in envs:
            env.step(action)
    for env, state in zip(envs, alone, strict=True):
        assert np.array_equal(env.get_state(), state)
        env.close()


def test_full_picture_is_robosuites_own() -> None:
    import robosuite as untyped_robosuite

    robosuite: Any = untyped_robosuite

    env = load_task(TASKS["robosuite/lift"]).make_env(View(camera="agentview", image_px=64, render="full"))
    ours = env.reset(4)["image"]
    untouched: Any = robosuite.make(
        "Lift",
        robots="Panda",
        has_offscreen_renderer=True,
        use_camera_obs=False,
        hard_reset=False,
        renderer="mujoco",
        seed=0,
    )
    untouched.rng.bit_generator.state = np.random.default_rng(4).bit_generator.state
    untouched.reset()
    theirs: Any = untouched.sim.render(camera_name="agentview", width=64, height=64)[::-1]
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    env.close()
    untouched.close()
    assert difference.max() <= 2
    assert ours.std() > 10
