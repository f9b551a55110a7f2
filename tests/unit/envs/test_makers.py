"""A task of one's own is known by its code and by the model that it loads, not by its name alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pvrbench.envs import makers
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.spec import TaskSpec

MakersOf = Callable[[], dict[str, str]]

SCENE = "<mujoco><worldbody><geom name='ball' size='.1' rgba='1 0 0 1'/></worldbody></mujoco>"
CODE = """
import gymnasium, mujoco, numpy as np
from pathlib import Path
class Ball(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    def __init__(self, **_):
        self.model = mujoco.MjModel.from_xml_path(str(Path(__file__).with_name("own_ball.xml")))
        self.data = mujoco.MjData(self.model)
gymnasium.registry.pop("own/Ball-v0", None)
gymnasium.register("own/Ball-v0", Ball)
"""


@pytest.fixture
def makers_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakersOf:
    """What makes a task of one's own, as a new process finds it."""
    (tmp_path / "own_ball_task.py").write_text(CODE)
    (tmp_path / "own_ball.xml").write_text(SCENE)
    monkeypatch.syspath_prepend(str(tmp_path))
    options: dict[str, str | int | float | bool] = {"environment": "own/Ball-v0", "module": "own_ball_task"}
    spec: TaskSpec = replace(
        TASKS["robosuite/lift"],
        name="own/ball",
        entry_point="pvrbench.envs.simulators.gymnasium:load_task",
        packages=("mujoco",),
        options=options,
    )
    monkeypatch.delitem(sys.modules, "own_ball_task", raising=False)
    # A new process remembers nothing.
    return lambda: importlib.reload(makers).makers_of(spec)


def test_a_shipped_task_is_known_by_the_versions_of_its_packages() -> None:
    assert set(makers.makers_of(TASKS["robosuite/lift"])) == set(TASKS["robosuite/lift"].packages)


def test_code_of_a_task_that_changed_is_another_simulator(makers_of: MakersOf, tmp_path: Path) -> None:
    before = makers_of()
    assert set(before) == {"mujoco", "code", "model"}
    assert makers_of() == before
    (tmp_path / "own_ball_task.py").write_text(CODE.replace("(1,)", "(1, )"))
    after = makers_of()
    assert after["code"] != before["code"]
    assert after["model"] == before["model"]


def test_options_of_a_row_that_changed_are_another_simulator() -> None:
    spec = replace(TASKS["robosuite/lift"], name="own/lift")
    for other in (replace(spec, options={**spec.options, "proprio_start": 1}), replace(spec, revision=1)):
        assert makers.makers_of(spec)["code"] != makers.makers_of(other)["code"]


@pytest.mark.parametrize("change", ["rgba='0 1 0 1'", "rgba='1 0 0 1' friction='2 0 0'"])
def test_a_model_file_that_a_task_loads_is_another_simulator(makers_of: MakersOf, tmp_path: Path, change: str) -> None:
    before = makers_of()
    (tmp_path / "own_ball.xml").write_text(SCENE.replace("rgba='1 0 0 1'", change))
    after = makers_of()
    assert after["code"] == before["code"]
    assert after["model"] != before["model"]
