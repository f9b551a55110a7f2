"""`pvrbench imagine` as a user meets it, on a small task of one's own: a ball that is pushed to a goal."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.engine.context import load_task
from pvrbench.benchmark.imagination.pairs import ImaginationError, make_pairs
from pvrbench.benchmark.records.imagination_schema import ImaginationRecord
from pvrbench.benchmark.records.imagination_store import ImaginationStore
from pvrbench.envs.base import Array

EXAMPLE = Path(__file__).resolve().parents[3] / "example_plugin"
SETTINGS = (
    "preset=quickstart",
    "tasks=[pvrbench_example:PUSH]",
    "encoders=[pixels_7]",
    "image_px=32",
    "seeds=[0]",
    *("imagination.num_trajectories=18", "imagination.num_test_trajectories=3", "imagination.num_blocks=8"),
    *("imagination.error_horizon=4", "imagination.horizon=3", "imagination.num_samples=24"),
    *("imagination.num_iterations=3", "imagination.num_pairs=4", "imagination.goal_steps=20"),
    *("imagination.width=16", "imagination.num_heads=2", "imagination.num_updates=40", "imagination.rollout=2"),
)
CONTROLS = "imagination.controls=[simulator,random_actions,oracle]"


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[None]:
    sys.path.append(str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def imagined(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagined") / "run"
    assert main(["imagine", *SETTINGS, CONTROLS, f"run_dir={folder}"]) == 0
    return folder


def found(folder: Path) -> dict[tuple[str, str], ImaginationRecord]:
    records, refusals = ImaginationStore(folder).read()
    assert not refusals
    return {(record.key.encoder, record.key.model): record for record in records}


def test_every_contender_is_measured_and_plans(imagined: Path) -> None:
    records = found(imagined)
    models = {(encoder, model) for encoder in ("pixels_7", "oracle") for model in ("transformer", "linear")}
    assert set(records) == models | {("oracle", "simulator"), ("oracle", "random_actions")}
    assert len({record.pairs for record in records.values()}) == 1
    for record in records.values():
        assert [each.index for each in record.episodes] == [0, 1, 2, 3]
        assert all(each.success or each.num_steps >= 2 * each.expert_steps for each in record.episodes)
    # The ball goes where it is pushed: a linear model of its state is exact.
    oracle = records["oracle", "linear"]
    assert all(each.latent[-1] < 0.1 * each.copied[-1] for each in oracle.curves if each.kind == "random")
    assert all(len(each.latent) == 4 for each in oracle.curves)
    solved = {place: sum(each.success for each in record.episodes) for place, record in records.items()}
    assert solved["oracle", "simulator"] >= 3
    assert solved["oracle", "linear"] > solved["oracle", "random_actions"]
    assert len(records["pixels_7", "transformer"].pictures) == 3


def test_the_report_shows_planning_curves_and_futures(imagined: Path) -> None:
    page = (imagined / "report" / "imagination.html").read_text()
    assert "pixels_7 · transformer" in page
    assert "true simulator" in page
    assert page.count("data:image/jpeg") == 6
    curves = list(csv.DictReader((imagined / "report" / "curves.csv").read_text().splitlines()))
    assert {row["horizon"] for row in curves} == {"1", "2", "3", "4"}
    assert all(float(row["share_low"]) <= float(row["share"]) <= float(row["share_high"]) for row in curves)
    assert all(float(row["latent"]) <= float(row["bound"]) * (1 + 1e-4) for row in curves)


def test_the_same_command_goes_on_from_the_same_models(
    imagined: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = found(imagined)
    command = ["imagine", *SETTINGS, "imagination.controls=[oracle]", "imagination.models=[transformer]"]
    assert main([*command, f"run_dir={imagined}"]) == 0
    assert "0 imaginations recorded, 2 were there already" in capfd.readouterr().out
    assert found(imagined) == before
    assert main([*command, f"run_dir={imagined}", "imagination.budget=3"]) == 2
    assert "under other settings: imagination.budget (2.0 there, 3.0 here)" in capfd.readouterr().err
    # Made anew in another folder, every number is the same.
    assert main([*command, f"run_dir={tmp_path}", "imagination.controls=[]"]) == 0
    record = found(tmp_path)["pixels_7", "transformer"]
    assert record.digest == before["pixels_7", "transformer"].digest


def test_a_record_that_was_edited_is_refused(imagined: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = next(iter(sorted((imagined / "imaginations").glob("*.json"))))
    (tmp_path / "imaginations").mkdir()
    edited = json.loads(source.read_text())
    edited["episodes"][0]["success"] = not edited["episodes"][0]["success"]
    (tmp_path / "imaginations" / source.name).write_text(json.dumps(edited))
    assert main(["imagine", *SETTINGS, CONTROLS, f"run_dir={tmp_path}"]) == 2
    assert "was changed after it was written" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["encoders=[example:nothing]"], "cannot be"),
        (["encoders=[pvrbench_example:mean_colour]"], "gives no grid of features"),
        (["encoders=[expert]"], "is no encoder"),
        (["imagination.error_horizon=8"], "imagination.error_horizon=8 is longer than the trajectories allow"),
        (["imagination.horizon=9"], "imagination.horizon=9 is longer than the trajectories allow"),
        (["imagination.executed=4"], "longer than a plan of imagination.horizon=3"),
        (["imagination.width=24", "imagination.num_heads=16"], "is no multiple"),
        (["imagination.models=[mamba]"], "imagination.models"),
        (["imagination.nums_pairs=3"], "Did you mean 'imagination.num_pairs'"),
        (["adaptations=[lora]", "encoders=[random_zoo_vit]"], "frozen features"),
    ],
)
def test_bad_settings_are_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], overrides: list[str], text: str
) -> None:
    command = ["imagine", *SETTINGS, "imagination.controls=[]", f"run_dir={tmp_path}", *overrides]
    assert main(command) == 2
    error = capfd.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_goals_that_starts_fulfil_already_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task(tasks()["pvrbench_example:PUSH"])

    def nowhere(_env: object) -> Array:
        return np.zeros(2)

    monkeypatch.setattr("pvrbench_example_task.PushEnv.way", nowhere)
    with pytest.raises(ImaginationError, match=r"6 starts fulfil their goal already; set a larger"):
        make_pairs(task, 2, 20)
