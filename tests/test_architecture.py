"""The rules of the structure, held by the tools that state them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # A run in this process sets it for the processes that it starts; a user's shell does not have it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    result = run(str(Path(sys.executable).parent / "lint-imports"))
    assert result.returncode == 0, result.stdout


def test_listing_and_planning_import_nothing_heavy() -> None:
    code = (
        "import sys; from pvrbench.benchmark.cli import main; main(['plan', 'preset=quickstart', '--json']);"
        "heavy = {'torch', 'timm', 'mujoco', 'robosuite', 'metaworld', 'diffusers'} & set(sys.modules);"
        "sys.stderr.write(' '.join(sorted(heavy))); sys.exit(bool(heavy))"
    )
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr


def test_folders_of_ones_own_with_the_same_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("envs", "policies", "encoders", "benchmark"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"mine = {name!r}")
    code = (
        "import benchmark, encoders, envs, policies, pvrbench.envs.catalog as c;"
        "print(benchmark.mine, encoders.mine, envs.mine, policies.mine, c.__file__)"
    )
    result = run(sys.executable, "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    *mine, file = result.stdout.split()
    assert mine == ["benchmark", "encoders", "envs", "policies"]
    assert Path(file).is_relative_to(ROOT)
