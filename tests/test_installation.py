"""The package works however it is installed, and from a folder with modules and folders of the same names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("envs", "policies", "encoders", "benchmark")
MODULES = ("random", "types", "queue")

MINE = """
from torch import nn

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(8)
    def forward(self, images):
        return self.pool(images.permute(0, 3, 1, 2).float() / 255)
"""

SMALL = [
    *("preset=quickstart", "tasks=[metaworld/assembly-v3]", "baselines=[expert]", "readouts=[mean]", "num_demos=[1]"),
    *("seeds=[0]", "num_episodes=2", "demo_pool=1", "horizon=4", "image_px=32", "train.num_updates=4"),
    *("engine.videos=false", "engine.num_workers=2", "run_dir=out", "encoders=[encoders.mine:Mine]"),
]


@pytest.fixture(scope="module")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of a fresh environment with the wheel, which sees the other packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-deps", "--no-index"]
    # From a copy: a build leaves folders beside the code, which would go into later wheels.
    unwanted = shutil.ignore_patterns(".git", ".venv", "results", "tests", "docs", "build", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=unwanted)
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    assert subprocess.run(build, capture_output=True, text=True, check=False).returncode == 0
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    # A path alone: links of editable installations are not followed from there.
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "--python", str(python), "install", *offline, str(wheel)]
    result = subprocess.run(install, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return python


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder such as nearly every robot-learning repository is, and with modules that shadow the standard library."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "encoders" / "mine.py").write_text(MINE)
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module was imported')\n")
    return tmp_path


def run(python: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PVRBENCH_CACHE": str(folder / "cache"), **variables}
    # As the console script does: the current folder is not looked into first.
    command = [str(python), "-P", "-m", "pvrbench", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["editable", "wheel", "path"])
def test_a_run_from_a_crowded_folder_uses_the_users_encoder_and_our_code(
    kind: str, crowded: Path, request: pytest.FixtureRequest
) -> None:
    python = request.getfixturevalue("wheel_python") if kind == "wheel" else Path(sys.executable)
    variables = {"PYTHONPATH": os.pathsep.join([str(ROOT)]) if kind == "path" else ""}
    code = "import pvrbench, pvrbench.envs.catalog as c; print(pvrbench.__file__, c.__file__)"
    found = subprocess.run(
        [str(python), "-P", "-c", code],
        cwd=crowded,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    root = python.parents[1] if kind == "wheel" else ROOT
    assert all(Path(file).is_relative_to(root) for file in found)
    settings = SMALL
    if kind == "path":
        # The root of the checkout is on the path then, and has a folder `encoders` of its own.
        (crowded / "mine.py").write_text(MINE)
        settings = [*SMALL, "encoders=[mine:Mine]"]
    result = run(python, crowded, "run", *settings, **variables)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(list((crowded / "out" / "records").glob("*.json"))) == 2


def test_a_folder_on_the_path_of_python_shadows_nothing(crowded: Path) -> None:
    for name in MODULES:
        (crowded / f"{name}.py").unlink()
    result = run(Path(sys.executable), crowded, "list", "heads", PYTHONPATH=".")
    assert result.returncode == 0, result.stderr
    assert "gmm" in result.stdout
