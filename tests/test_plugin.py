"""A package of one's own, installed without network, stands beside the shipped encoders and heads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pvrbench.benchmark.records.store import RecordStore

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package installed in it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(Path(__file__).parent / "example_plugin", folder / "source")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "site"


def pvrbench(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pvrbench", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_is_listed_checked_and_planned(site: Path) -> None:
    listed = json.loads(pvrbench(site, "list", "encoders", "--json").stdout)
    assert listed["example_colour"]["licence"] == "MIT"
    assert "dinov2_vits14" in listed
    checked = pvrbench(site, "check-encoder", "example_colour")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    planned = pvrbench(
        site,
        "plan",
        "encoders=[example_colour,pixels_7]",
        "heads=[example_nearest]",
        "readouts=[pooled]",
        "baselines=[]",
        "--json",
    )
    assert planned.returncode == 0, planned.stderr
    cells = json.loads(planned.stdout)["cells"]
    assert {(cell["encoder"], cell["head"]) for cell in cells} == {
        ("example_colour", "example_nearest"),
        ("pixels_7", "example_nearest"),
    }


def test_a_readout_of_an_installed_package_brings_its_code(site: Path) -> None:
    listed = json.loads(pvrbench(site, "list", "readouts", "--json").stdout)
    assert listed["example_max"]["reads"] == ["grid"]
    code = (
        "import torch; from pvrbench.benchmark.catalog import readouts; from pvrbench.encoders.base import Features;"
        "from pvrbench.encoders.readouts.base import load_readout; readout = load_readout(readouts()['example_max']);"
        "grid = torch.arange(18.0).reshape(1, 2, 3, 3); rows = readout.read(Features(grid=grid));"
        "print(rows.tolist(), tuple(readout.fit(rows, 0, 5)(rows).shape))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "[[8.0, 17.0]] (1, 5)\n", result.stderr


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("absent_module:SPEC", "cannot be imported: ModuleNotFoundError: No module named 'absent_module'"),
        ("json:dumps", "is a function; expected the EncoderSpec 'mine'"),
        ("pvrbench_example:COLOUR", "is the EncoderSpec 'example_colour'; expected the EncoderSpec 'mine'"),
    ],
)
def test_a_faulty_plugin_is_named_with_its_package(site: Path, tmp_path: Path, entry: str, message: str) -> None:
    info = tmp_path / "faulty-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pvrbench.encoders]\nmine = {entry}\n")
    result = pvrbench(Path(f"{tmp_path}{os.pathsep}{site}"), "plan", "encoders=[mine]")
    assert result.returncode == 2
    assert f"Plug-in encoder 'mine' ({entry} of package faulty)" in result.stderr
    assert message in result.stderr


@pytest.mark.timeout(600)
def test_plugins_of_every_kind_run_together_with_no_edit_of_the_trunk(site: Path, tmp_path: Path) -> None:
    listed = {kind: json.loads(pvrbench(site, "list", kind, "--json").stdout) for kind in ("tasks", "looks", "heads")}
    assert {"example/push", "example/tint", "example_nearest"} <= {name for rows in listed.values() for name in rows}
    checked = pvrbench(site, "check-task", "example/push")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    settings = [
        *("preset=quickstart", "tasks=[example/push]", "encoders=[example_colour,pixels_7]", "baselines=[oracle]"),
        *("readouts=[pooled,example_max]", "heads=[mlp,example_nearest]", "looks=[nominal,example/tint@2]"),
        *("num_demos=[10]", "seeds=[0]", "num_episodes=4", "demo_pool=10", "image_px=32", "train.num_updates=300"),
        *("engine.videos=false", f"run_dir={tmp_path / 'run'}", f"engine.cache_dir={tmp_path / 'cache'}"),
    ]
    result = pvrbench(site, "run", *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    records, refusals = RecordStore(tmp_path / "run").read()
    assert not refusals
    found = {(r.cell.encoder, r.cell.readout, r.cell.head, r.cell.look) for r in records}
    assert found == {
        (encoder, readout, head, look)
        for encoder, readout in (
            ("example_colour", "pooled"),
            ("pixels_7", "pooled"),
            ("pixels_7", "example_max"),
            ("oracle", "pooled"),
        )
        for head in ("mlp", "example_nearest")
        for look in ("nominal", "example/tint@2")
    }
    # The state's clone solves an easy task whatever it looks like.
    for record in records:
        if (record.cell.encoder, record.cell.head) == ("oracle", "mlp"):
            assert sum(episode.success for episode in record.episodes) >= 3


def test_a_schedule_and_an_executor_of_an_installed_package_run(site: Path, tmp_path: Path) -> None:
    settings = [
        *("preset=quickstart", "tasks=[example/push]", "encoders=[pixels_7,oracle]", "baselines=[proprio]"),
        *("readouts=[pooled]", "num_demos=[10]", "seeds=[0,1]", "num_episodes=4", "demo_pool=10", "image_px=32"),
        *("train.num_updates=300", "engine.videos=false", f"engine.cache_dir={tmp_path / 'cache'}"),
    ]
    early = ["episode_schedule=example_first_success", "engine.executor=example_process"]
    for name, further in (("whole", []), ("early", early)):
        result = pvrbench(site, "run", *settings, *further, f"run_dir={tmp_path / name}")
        assert result.returncode == 0, result.stdout + result.stderr
    whole, cut = ({r.cell: r for r in RecordStore(tmp_path / name).read()[0]} for name in ("whole", "early"))
    assert set(whole) == set(cut)
    for cell, record in cut.items():
        episodes = whole[cell].episodes
        first = next((episode.index for episode in episodes if episode.success), len(episodes) - 1)
        # The episodes that were run are those of the whole run, wherever and in whatever company they were run.
        assert record.episodes == episodes[: first + 1]
        assert record.stopped == ("it has solved one" if len(record.episodes) < len(episodes) else "")
        assert record.settings.episode_schedule == "example_first_success"
    assert len({len(record.episodes) for record in cut.values()}) > 1
    assert (tmp_path / "early" / "report" / "report.md").is_file()
    compared = pvrbench(site, "rank", str(tmp_path / "whole"), str(tmp_path / "early"))
    assert compared.returncode == 2
    assert "episode_schedule is example_first_success and fixed" in compared.stderr


DRAW_LOOKS = """
import json, pkgutil
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.spec import View
spec = TASKS["metaworld/reach-v3"]
task, means = pkgutil.resolve_name(spec.entry_point)(spec), {}
for look in ("nominal", "example/tint@2s1", "example/tint@2s2"):
    env = task.make_env(View(camera="corner", image_px=32, render="lean", look=look))
    means[look] = env.reset(0)["image"].mean(axis=(0, 1)).tolist()
    env.close()
print(json.dumps(means))
"""


def test_a_look_of_an_installed_package_is_drawn(site: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", DRAW_LOOKS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    means = [np.array(colour) for colour in json.loads(result.stdout).values()]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(means[one] - means[other]).max() > 5.0
