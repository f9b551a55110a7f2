"""The doctor on this machine, and on one without OpenGL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PVRBENCH = str(Path(sys.executable).parent / "pvrbench")


def doctor(environment: dict[str, str]) -> tuple[int, list[dict[str, str]]]:
    result = subprocess.run(
        [PVRBENCH, "doctor", "--json"], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return result.returncode, json.loads(result.stdout)


def test_every_suite_renders_here(tmp_path: Path) -> None:
    status, findings = doctor({"PVRBENCH_CACHE": str(tmp_path)})
    assert status == 0, findings
    by_name = {finding["name"]: finding for finding in findings}
    for suite in ("metaworld", "robosuite"):
        assert "pixel hash" in by_name[suite]["detail"]
    assert "mujoco" in by_name["versions"]["detail"]


def test_the_variable_that_keeps_opengl_from_working_is_named(tmp_path: Path) -> None:
    status, findings = doctor({"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa", "PVRBENCH_CACHE": str(tmp_path)})
    assert status == 1
    broken = [finding for finding in findings if not finding["ok"]]
    assert {finding["name"] for finding in broken} == {"metaworld", "robosuite"}
    assert all("Unset MUJOCO_GL or set MUJOCO_GL=egl" in finding["remedy"] for finding in broken)


def test_a_cache_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, findings = doctor({"PVRBENCH_CACHE": str(tmp_path / "file")})
    assert status == 1
    assert any(finding["name"] == "cache" and not finding["ok"] for finding in findings)


def test_a_python_without_wheels_is_refused_by_the_first_step(tmp_path: Path) -> None:
    python = tmp_path / "python3.13"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.13.0 || exit 1\n')
    python.chmod(0o755)
    script = Path(__file__).parents[1] / ".ci" / "system-packages"
    result = subprocess.run(
        ["sh", str(script)], env={**os.environ, "PYTHON": str(python)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert f"Python 3.11 or 3.12 is needed, and {python} is Python 3.13.0" in result.stderr
    assert "make PYTHON=python3.11" in result.stderr
