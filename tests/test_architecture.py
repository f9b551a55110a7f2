"""The rules of the structure, held by the tools that state them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    result = run(str(Path(sys.executable).parent / "lint-imports"))
    assert result.returncode == 0, result.stdout


def test_listing_and_planning_import_nothing_heavy() -> None:
    code = (
        "import sys; from benchmark.cli import main; main(['plan', 'preset=quickstart', '--json']);"
        "heavy = {'torch', 'timm', 'mujoco', 'robosuite', 'metaworld', 'diffusers'} & set(sys.modules);"
        "sys.stderr.write(' '.join(sorted(heavy))); sys.exit(bool(heavy))"
    )
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr


def test_the_packages_are_those_of_this_repository(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("raise RuntimeError('a stray package was imported')")
    code = "import benchmark as b, encoders as c, envs as e, policies as p; print(*[m.__file__ for m in (b, c, e, p)])"
    result = run(sys.executable, "-P", "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(Path(name).is_relative_to(ROOT) for name in result.stdout.split())
