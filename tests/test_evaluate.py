"""Stored policies: found again instead of trained again, tried elsewhere, and refused where they are not sound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore

pytestmark = [pytest.mark.usefixtures("shared_cache"), pytest.mark.xdist_group("pipeline")]

SMALL = [
    *("preset=quickstart", "tasks=[metaworld/assembly-v3]", "encoders=[pixels_7,oracle]", "baselines=[]"),
    *("readouts=[pooled,spatial_softmax]", "num_demos=[2]", "seeds=[0]", "num_episodes=3", "demo_pool=3"),
    *("horizon=25", "image_px=32", "train.num_updates=30", "engine.videos=false"),
]


def cells(run_dir: Path) -> dict[tuple[str, str], CellRecord]:
    records, refusals = RecordStore(run_dir).read()
    assert not refusals
    return {(record.cell.encoder, record.cell.readout): record for record in records}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    assert main(["run", *SMALL, f"run_dir={run_dir}"]) == 0
    return run_dir


def test_every_policy_is_kept_under_the_digest_in_its_record(trained: Path) -> None:
    found = cells(trained)
    assert set(found) == {("pixels_7", "pooled"), ("pixels_7", "spatial_softmax"), ("oracle", "pooled")}
    for record in found.values():
        for suffix in (".safetensors", ".json"):
            assert (trained / "policies" / f"{record.digests.policy}{suffix}").is_file()


def test_the_plan_says_how_much_space_policies_take(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--json"]) == 0
    forecast = json.loads(capsys.readouterr().out)["forecast"]
    taken = sum(path.stat().st_size for path in (trained / "policies").iterdir())
    assert forecast["policy_bytes"] == pytest.approx(taken, rel=0.02)
    assert main(["plan", *SMALL]) == 0
    assert f"{taken / 2**20:.1f} MiB of stored policies" in " ".join(capsys.readouterr().out.split())


def test_more_episodes_of_another_split_train_nothing(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "split=selection", "num_episodes=4", "name=more"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 policies were stored already" in said
    assert "Demonstration frames: 0 encoded, 0 from the cache" in said
    found, before = cells(trained / "evaluations" / "more"), cells(trained)
    assert {name: len(record.episodes) for name, record in found.items()} == dict.fromkeys(before, 4)
    assert {record.cell.split for record in found.values()} == {"selection"}
    for name, record in found.items():
        assert record.cell.train == before[name].cell.train
        assert record.digests.policy == before[name].digests.policy


def test_a_reloaded_policy_acts_as_when_it_was_trained(trained: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(trained), "num_episodes=3", f"run_dir={tmp_path / 'again'}"]) == 0
    again = cells(tmp_path / "again")
    for name, record in cells(trained).items():
        assert again[name].episodes == record.episodes


def test_an_evaluation_names_the_demonstrations_that_the_policy_learnt_from_whatever_is_there_now(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another user's cache: it holds no demonstrations.
    monkeypatch.setenv("PVRBENCH_CACHE", str(tmp_path / "cache"))
    command = ["evaluate", str(trained), "num_episodes=3", "encoders=[pixels_7]", f"run_dir={tmp_path / 'elsewhere'}"]
    assert main(command) == 0
    assert not (tmp_path / "cache" / "demos").exists()
    before = cells(trained)
    for name, record in cells(tmp_path / "elsewhere").items():
        assert record.digests.demos == before[name].digests.demos
        assert record.provenance.demos == before[name].provenance.demos
    assert main(command) == 0


def test_another_camera_and_look_are_places_of_their_own(trained: Path, tmp_path: Path) -> None:
    settings = ["cameras=[corner]", "looks=[light/darker@2]", "encoders=[pixels_7]", f"run_dir={tmp_path / 'dark'}"]
    assert main(["evaluate", str(trained), *settings]) == 0
    records, _ = RecordStore(tmp_path / "dark").read()
    # The nominal look is evaluated beside every other one.
    assert {(record.cell.readout, record.cell.look) for record in records} == {
        (readout, look) for readout in ("pooled", "spatial_softmax") for look in ("nominal", "light/darker@2")
    }
    for record in records:
        assert record.cell.camera == "corner"
        assert record.cell.train.camera == "left_cap2"
        assert bool(record.digests.look) == (record.cell.look != "nominal")


def test_nominal_rows_are_taken_over_and_whoever_sees_no_picture_does_the_same(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["looks=[combined@3]", "readouts=[pooled]", f"run_dir={tmp_path / 'shifted'}"]
    assert main(["evaluate", str(trained), *settings]) == 0
    # Of four cells two were recorded by the run of the policies, on the same states.
    assert "2 cells recorded, 2 were there already." in " ".join(capsys.readouterr().out.split())
    records, _ = RecordStore(tmp_path / "shifted").read()
    found = {(record.cell.encoder, record.cell.look): record for record in records}
    for encoder in ("pixels_7", "oracle"):
        assert found[encoder, "nominal"] == cells(trained)[encoder, "pooled"]
    assert found["oracle", "combined@3"].episodes == found["oracle", "nominal"].episodes
    assert len(list((tmp_path / "shifted" / "looks").glob("*.png"))) == 2
    assert len(list((tmp_path / "shifted" / "report").glob("looks-*.png"))) == 1
    assert "## Changed looks" in (tmp_path / "shifted" / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_policies_learn_from_demonstrations_under_changed_looks(trained: Path, tmp_path: Path) -> None:
    own = ["encoders=[pixels_7,oracle]", "readouts=[pooled]", "train_looks=[nominal,light/darker@3]", "looks=[nominal]"]
    assert main(["run", *SMALL, *own, f"run_dir={tmp_path / 'varied'}"]) == 0
    plain, varied = cells(trained), cells(tmp_path / "varied")
    assert varied["pixels_7", "pooled"].settings.train_looks == ("nominal", "light/darker@3")
    assert varied["pixels_7", "pooled"].digests.train_looks
    assert varied["pixels_7", "pooled"].train_log["losses"] != plain["pixels_7", "pooled"].train_log["losses"]
    # The oracle sees no picture, so it learns and does the same.
    assert varied["oracle", "pooled"].episodes == plain["oracle", "pooled"].episodes
    assert not varied["oracle", "pooled"].digests.train_looks
    assert main(["report", str(trained), str(tmp_path / "varied"), f"output={tmp_path / 'report'}"]) == 2


def test_a_killed_run_does_not_train_what_is_stored(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "policies", tmp_path / "policies")
    assert main(["run", *SMALL, f"run_dir={tmp_path}"]) == 0
    assert "3 policies were stored already" in " ".join(capsys.readouterr().out.split())
    ours, theirs = cells(tmp_path), cells(trained)
    for name, record in ours.items():
        assert record.episodes == theirs[name].episodes
        assert record.content_digest() == theirs[name].content_digest()


def edit_policy(run_dir: Path) -> None:
    path = sorted((run_dir / "policies").glob("*.json"))[0]
    value: dict[str, Any] = json.loads(path.read_text())
    value["train_log"] = {}
    path.write_text(json.dumps(value))


def truncate_policy(run_dir: Path) -> None:
    for path in (run_dir / "policies").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(edit_policy, "was edited after it was written"), (truncate_policy, "Train the policy again")],
)
def test_a_policy_file_that_is_not_sound_is_named_and_nothing_is_evaluated(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, complaint: str
) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    spoil(run_dir)
    assert main(["evaluate", str(run_dir), "split=selection", "name=x"]) == 1
    assert complaint in capsys.readouterr().err


def test_a_configuration_that_is_not_that_of_the_records_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**config, "image_px": 48}))
    assert main(["evaluate", str(run_dir), "encoders=[pixels_7]", "name=x"]) == 2
    assert "is not the one of its records: image_px (32 in the records, 48 in config.json)" in capsys.readouterr().err


def test_a_run_without_policies_says_so(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run_dir / "policies")
    assert main(["evaluate", str(run_dir), "split=selection", "name=x"]) == 1
    assert "its run did not keep policies, or has not trained this one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting", ["demo_pool=2", "train.num_updates=5", "history=2", "seed=3", "engine.precision=bfloat16"]
)
def test_what_made_the_policies_cannot_be_changed(
    trained: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    assert main(["evaluate", str(trained), setting]) == 2
    error = capsys.readouterr().err
    assert setting.partition("=")[0] in error
    assert error.count("\n") == 1
