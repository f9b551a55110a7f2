"""Where OpenGL fails, the error names the environment variable that is in the way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pvrbench.envs.pictures.gl import RenderError, check_mujoco

NAMES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES")
DRAW = """
from pvrbench.envs.pictures.context import gl_renderer
print(gl_renderer())
"""


def draw(settings: dict[str, str], before: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in (*NAMES, "DISPLAY")}
    return subprocess.run(
        [sys.executable, "-c", before + DRAW],
        env={**environment, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"MUJOCO_GL": "foo"}, "MUJOCO_GL=foo cannot draw off screen"),
        ({"MUJOCO_GL": "disable"}, "MUJOCO_GL=disable cannot draw off screen"),
        ({"MUJOCO_GL": "glfw"}, "does not work here. MUJOCO_GL=glfw does not work on this machine. Unset MUJOCO_GL"),
        ({"PYOPENGL_PLATFORM": "osmesa"}, "PYOPENGL_PLATFORM=osmesa contradicts MUJOCO_GL=egl"),
        ({"MUJOCO_EGL_DEVICE_ID": "x"}, "MUJOCO_EGL_DEVICE_ID=x may name no device"),
        (
            {"MUJOCO_EGL_DEVICE_ID": "97", "CUDA_VISIBLE_DEVICES": "1"},
            "CUDA_VISIBLE_DEVICES=1 does not renumber EGL's devices",
        ),
    ],
)
def test_the_variable_in_the_way_is_named(settings: dict[str, str], remedy: str) -> None:
    result = draw(settings)
    assert result.returncode == 1
    # The last line, and the only error: nothing is printed about objects that were never made.
    assert remedy in result.stderr.strip().splitlines()[-1]
    assert "Exception ignored" not in result.stderr


def test_values_that_mean_the_same_work() -> None:
    results = [draw(settings) for settings in ({}, {"MUJOCO_GL": ""}, {"MUJOCO_GL": "EGL"})]
    assert [(result.returncode, bool(result.stdout.strip())) for result in results] == [(0, True)] * 3


def test_mujoco_that_was_imported_too_early_is_told_as_such() -> None:
    result = draw({}, before="import mujoco")
    assert "imported with glfw before pvrbench chose egl" in result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("found", ["3.9.0", "3.17.0", "4.0.0", "3.2.7", "2.3"])
def test_another_mujoco_than_the_suites_run_with_is_named_with_the_command_that_mends_it(found: str) -> None:
    with pytest.raises(RenderError, match=rf"mujoco {found} is installed.*pip install 'mujoco>=3.3,<3.9'"):
        check_mujoco(found)


@pytest.mark.parametrize("found", ["3.3.0", "3.8.1", "3.3.1.dev2"])
def test_a_mujoco_that_the_suites_run_with_is_taken(found: str) -> None:
    check_mujoco(found)
