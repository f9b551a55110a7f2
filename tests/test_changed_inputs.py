"""An input that changed since a cell was recorded is named, and results of both are not mixed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.store import RecordStore

pytestmark = [pytest.mark.usefixtures("shared_cache"), pytest.mark.xdist_group("pipeline")]

SMALL = [
    *("preset=quickstart", "tasks=[metaworld/assembly-v3]", "baselines=[]", "readouts=[mean]", "num_demos=[2]"),
    *("seeds=[0]", "num_episodes=2", "demo_pool=3", "horizon=10", "image_px=32", "train.num_updates=10"),
    *("engine.videos=false",),
]

ENCODER = """
import torch
from torch import nn
from changing_helper import GAIN

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.offset = torch.load("offset.pt")

    def forward(self, images):
        return GAIN * self.patches(images.permute(0, 3, 1, 2).float() / 255) + self.offset
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A folder with an encoder of one's own, which imports a helper and loads a file, and with a run of it."""
    folder = tmp_path_factory.mktemp("recorded")
    torch.save(torch.zeros(1), folder / "offset.pt")
    (folder / "changing_helper.py").write_text("GAIN = 1.0\n")
    (folder / "changing_encoder.py").write_text(ENCODER)
    status, error = run(folder)
    assert status == 0, error
    return folder


def change_code(folder: Path) -> None:
    path = folder / "changing_encoder.py"
    path.write_text(path.read_text().replace("manual_seed(0)", "manual_seed(1)"))


def change_helper(folder: Path) -> None:
    (folder / "changing_helper.py").write_text("GAIN = 3.0\n")


def change_file(folder: Path) -> None:
    torch.save(torch.ones(1), folder / "offset.pt")


def run(folder: Path) -> tuple[int, str]:
    """Status and errors of a run in a folder, in a process of its own: modules are imported once in a process."""
    settings = [*SMALL, "encoders=[changing_encoder:Mine]", "run_dir=run"]
    command = [sys.executable, "-m", "pvrbench", "run", *settings]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


@pytest.mark.parametrize(("change", "part"), [(change_code, "code"), (change_helper, "code"), (change_file, "weights")])
def test_an_encoder_that_changed_is_named(
    recorded: Path, tmp_path: Path, change: Callable[[Path], None], part: str
) -> None:
    folder = shutil.copytree(recorded, tmp_path / "folder", ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(path.read_text() for path in (folder / "run" / "records").glob("*.json"))
    change(folder)
    status, error = run(folder)
    assert status == 2, error
    assert "The encoder changing_encoder:Mine changed after" in error
    assert part in error
    assert "name=..." in error
    assert sorted(path.read_text() for path in (folder / "run" / "records").glob("*.json")) == before


def test_going_on_with_more_demonstrations_of_another_pool_is_refused(
    tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["run", *SMALL, "encoders=[oracle]", "readouts=[pooled]", f"run_dir={tmp_path / 'run'}"]
    assert main(settings) == 0
    # The same command where the pool holds other demonstrations: those of other seeds, in another cache.
    other = tmp_path / "cache" / "demos" / "metaworld"
    other.mkdir(parents=True)
    name = "assembly-v3.hdf5"
    shutil.copy(shared_cache / "demos" / "metaworld" / name, other / name)
    reorder(other / name)
    monkeypatch.setenv("PVRBENCH_CACHE", str(tmp_path / "cache"))
    # Cells of another encoder stand beside the recorded ones in one report.
    for more in ("num_demos=[2,3]", "encoders=[proprio]"):
        assert main([*settings, more]) == 2
        assert "The demonstrations of metaworld/assembly-v3 changed after" in capsys.readouterr().err


def test_other_encoders_are_not_put_beside_records_of_other_code_or_another_renderer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["run", *SMALL, "readouts=[pooled]"]
    assert main([*settings, "encoders=[oracle]", f"run_dir={tmp_path / 'run'}"]) == 0
    ((record,), _) = RecordStore(tmp_path / "run").read()
    for part, text in (
        ("head", "The code of the head mlp changed after"),
        ("readout", "The code of the readout pooled changed after"),
        ("renderer", "The OpenGL renderer changed after"),
    ):
        store = RecordStore(tmp_path / part)
        store.write(record.model_copy(update={"digests": record.digests.model_copy(update={part: "another"})}))
        assert main([*settings, "encoders=[pixels_7]", f"run_dir={tmp_path / part}"]) == 2
        assert text in capsys.readouterr().err
        assert len(store.read()[0]) == 1


def reorder(path: Path) -> None:
    """The same demonstrations in another order: another pool."""
    import h5py

    with h5py.File(path, "r+") as file:
        data: Any = file["data"]
        data.move("demo_0", "demo_x")
        data.move("demo_1", "demo_0")
        data.move("demo_x", "demo_1")
        digests = json.loads(str(data.attrs["digests"]))
        data.attrs["digests"] = json.dumps([digests[1], digests[0], *digests[2:]])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("renderer", "another driver", "The OpenGL renderer changed after"),
        ("simulator", {"mujoco": "2.0"}, "The simulator of metaworld/assembly-v3 changed after"),
        ("readout", "f" * 64, "The code of the readout mean changed after"),
        ("head", "f" * 64, "The code of the head mlp changed after"),
    ],
)
def test_a_simulator_a_renderer_and_code_that_changed_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: object, words: str
) -> None:
    from pvrbench.benchmark.records.store import RecordStore

    run_dir = tmp_path / "run"
    settings = ["run", *SMALL, "encoders=[pixels_7]", f"run_dir={run_dir}"]
    assert main(settings) == 0
    store = RecordStore(run_dir)
    (record,), _ = store.read()
    path = store.path_of(record.cell)
    path.unlink()
    # As if it had been recorded on that other input.
    store.write(record.model_copy(update={"digests": record.digests.model_copy(update={field: value})}))
    capsys.readouterr()
    assert main(settings) == 2
    assert words in capsys.readouterr().err


def test_an_encoder_that_cannot_be_ranked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dice.py").write_text(
        "import torch\ndef encode(images):\n    return torch.rand(len(images), 4)\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["run", *SMALL, "encoders=[dice:encode]", "readouts=[pooled]", f"run_dir={tmp_path / 'run'}"]) == 1
    error = capsys.readouterr().err
    assert "it draws random numbers" in error
    assert not list((tmp_path / "run").glob("records/*.json"))
