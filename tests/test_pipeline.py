"""The main line end to end on the real simulator: what a user types, and what is there afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.store import RecordStore, sole_writer

pytestmark = [pytest.mark.usefixtures("shared_cache"), pytest.mark.xdist_group("pipeline")]

SMALL = [
    "preset=quickstart",
    "tasks=[metaworld/assembly-v3]",
    "encoders=[oracle,pixels_7,proprio]",
    "baselines=[]",
    "readouts=[pooled]",
    "num_demos=[2]",
    "seeds=[0]",
    "num_episodes=3",
    "demo_pool=3",
    "horizon=25",
    "image_px=32",
    "train.num_updates=30",
    "engine.videos=false",
]


def run(run_dir: Path, *overrides: str) -> int:
    return main(["run", *SMALL, f"run_dir={run_dir}", *overrides])


def contents(run_dir: Path) -> dict[str, Any]:
    """Records without what may differ between repetitions."""
    records: dict[str, Any] = {}
    for path in sorted((run_dir / "records").glob("*.json")):
        record = json.loads(path.read_text())
        for key in ("timing", "recorded_at"):
            del record[key]
        records[path.name] = record
    return records


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A finished run, with two workers."""
    run_dir = tmp_path_factory.mktemp("run")
    assert run(run_dir, "num_demos=[1,2]", "engine.num_workers=2", "engine.envs_per_worker=2") == 0
    return run_dir


def test_a_run_leaves_records_and_a_report(reference: Path) -> None:
    records = contents(reference)
    assert len(records) == 6  # 3 encoders x 2 N
    for record in records.values():
        assert [episode["index"] for episode in record["episodes"]] == [0, 1, 2]
        assert all(episode["num_steps"] <= 25 for episode in record["episodes"])
        assert record["provenance"]["packages"]["mujoco"]
        assert record["settings"]["preprocessing"] == "full_frame"
    (path,) = (reference / "records").glob("*pixels_7*-n2-*.json")
    assert {"encoder_ms_alone", "encoder_ms_in_tile", "encoder_peak_mib"} <= set(json.loads(path.read_text())["timing"])
    assert len({str([e["seed"] for e in record["episodes"]]) for record in records.values()}) == 1
    assert len({record["digests"]["initial_states"] for record in records.values()}) == 1
    report = reference / "report"
    for name in ("curves.png", "curves.svg", "curves.csv", "ranking.csv", "report.md"):
        assert (report / name).stat().st_size > 200, name
    assert "95 %" in (report / "report.md").read_text()


def test_the_same_command_again_runs_nothing(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(reference)
    assert run(reference, "num_demos=[1,2]") == 0
    assert "0 cells recorded, 6 were there already" in " ".join(capsys.readouterr().out.split())
    assert contents(reference) == before


@pytest.mark.parametrize("workers", [1, 4])
def test_outcomes_do_not_depend_on_workers_or_companions(reference: Path, tmp_path: Path, workers: int) -> None:
    # Alone: one N, one encoder at a time, other numbers of processes and environments.
    for encoder in ("pixels_7", "oracle"):
        assert run(tmp_path, f"encoders=[{encoder}]", f"engine.num_workers={workers}", "engine.envs_per_worker=1") == 0
    ours, theirs = contents(tmp_path), contents(reference)
    assert len(ours) == 2
    assert {name: theirs[name] for name in ours} == ours


def test_a_killed_run_goes_on_to_the_same_records(reference: Path, tmp_path: Path) -> None:
    # What a killed run leaves: some records, a half-written file.
    folder = tmp_path / "records"
    folder.mkdir()
    kept = sorted((reference / "records").glob("*.json"))[::2]
    for path in kept:
        (folder / path.name).write_text(path.read_text())
    (folder / ".half.tmp").write_text("{")
    assert run(tmp_path, "num_demos=[1,2]") == 0
    assert contents(tmp_path) == contents(reference)


def test_other_heads_and_seeds_encode_no_frame(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "encoders=[pixels_7]", "heads=[gmm,linear]", "seeds=[0]", "num_demos=[1,2]") == 0
    assert "Demonstration frames: 0 encoded" in " ".join(capsys.readouterr().out.split())


def test_variants_of_a_head_are_what_they_would_be_in_a_run_of_their_own(reference: Path, tmp_path: Path) -> None:
    variants = "head_variants={mlp_dropout:{head:mlp,train:{dropout:0.1,weight_decay:0.01}}}"
    assert run(tmp_path / "both", "num_demos=[1,2]", "heads=[mlp,mlp_dropout]", variants) == 0
    assert run(tmp_path / "alone", "num_demos=[1,2]", "train.dropout=0.1", "train.weight_decay=0.01") == 0

    def found(run_dir: Path, head: str) -> dict[tuple[str, int], object]:
        of_head = [record for record in contents(run_dir).values() if record["cell"]["train"]["head"] == head]
        return {
            (record["cell"]["train"]["encoder"], record["cell"]["train"]["num_demos"]): (
                record["episodes"],
                record["train_log"],
                record["settings"]["train"],
            )
            for record in of_head
        }

    assert found(tmp_path / "both", "mlp") == found(reference, "mlp")
    assert found(tmp_path / "both", "mlp_dropout") == found(tmp_path / "alone", "mlp")
    assert found(reference, "mlp") != found(tmp_path / "alone", "mlp")
    report = (tmp_path / "both" / "report" / "report.md").read_text()
    assert "a variant of mlp" in report
    assert "training of mlp_dropout" in report
    assert "mlp_dropout (mlp with dropout=0.1, weight_decay=0.01)" in report


def test_the_expert_stands_beside_the_policies(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert run(run_dir, "encoders=[proprio]", "baselines=[expert]", "num_demos=[1,2]", "horizon=150") == 0
    records = [record for record in contents(run_dir).values() if record["cell"]["train"]["encoder"] == "expert"]
    assert {record["cell"]["train"]["num_demos"] for record in records} == {1, 2}
    assert records[0]["episodes"] == records[1]["episodes"]
    assert all(episode["success"] and episode["num_steps"] < 150 for episode in records[0]["episodes"])
    assert "expert" in (run_dir / "report" / "report.md").read_text()


# A shell that starts jobs in the background has them ignore interruptions.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.store import RecordStore, sole_writer
sys.exit(main(sys.argv[1:]))
"""


def children_at_work(group: int) -> bool:
    """Whether both simulator processes of a run have computed for longer than an interpreter takes to start."""
    busy_s: list[float] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and int(stat.parent.name) != group:
                busy_s.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return sum(seconds > 6 for seconds in busy_s) >= 2


@pytest.mark.parametrize("encoder", ["expert", "oracle"])
def test_an_interruption_ends_a_run_at_once(encoder: str, tmp_path: Path) -> None:
    long = ["num_episodes=200", "horizon=500", "success_rule=last_step", "engine.num_workers=2"]
    settings = ["run", *SMALL, *long, f"encoders=[{encoder}]", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", INTERRUPTIBLE, *settings]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            while "evaluating" not in (line := process.stdout.readline()):
                assert line, "the run ended before it evaluated"
            while not children_at_work(process.pid):
                assert process.poll() is None, "the run ended before it was interrupted"
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "Interrupted. What is recorded is kept" in said
    assert "Traceback" not in said


def test_the_legacy_maximum_stands_beside_the_headline_and_leaves_it_alone(reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert run(run_dir, "encoders=[oracle]", "checkpoint_evaluations=3") == 0
    ((name, record),) = contents(run_dir).items()
    scores = record["checkpoints"]
    assert [score["num_updates"] for score in scores] == [10, 20, 30]
    assert record["episodes"] == contents(reference)[name]["episodes"]
    assert scores[-1]["num_successes"] == sum(episode["success"] for episode in record["episodes"])
    assert "Maximum over checkpoints (legacy)" in (run_dir / "report" / "report.md").read_text()


def test_another_protocol_in_the_same_folder_is_refused(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(reference)
    assert run(reference, "horizon=30") == 2
    error = capsys.readouterr().err
    assert "holds results under another protocol: horizon of metaworld/assembly-v3 (25 there, 30 here)" in error
    assert "name=" in error
    assert run(reference, "preprocessing=official") == 2
    assert "preprocessing (full_frame there, official here)" in capsys.readouterr().err
    # The same cells are not asked for: what is recorded would stand beside them in one report.
    assert run(reference, "encoders=[pixels_14]", "train.num_updates=20") == 2
    assert "train.num_updates of mlp (30 there, 20 here)" in capsys.readouterr().err
    assert contents(reference) == before


def test_a_second_run_in_the_same_folder_waits_for_nothing_and_changes_nothing(
    reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (reference / "config.json").read_bytes()
    with sole_writer(reference):
        assert run(reference, "encoders=[pixels_14]") == 2
    assert f"Another run is writing to {reference}" in capsys.readouterr().err
    assert (reference / "config.json").read_bytes() == before


def test_brackets_in_the_name_of_a_run_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "v[bold]2[/x] :boom:"
    assert run(run_dir, "encoders=[proprio]", "num_demos=[1]", "num_episodes=1", "horizon=3") == 0
    shown = capsys.readouterr().out.replace("\n", "")
    assert "v[bold]2[/x] :boom:/report" in shown


def test_failed_cells_run_again_in_place_when_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("encoders=[proprio]", "num_demos=[1]", "num_episodes=1", "horizon=3")
    assert run(tmp_path, *settings) == 0
    before = contents(tmp_path)
    store = RecordStore(tmp_path)
    (record,), _ = store.read()
    path = store.path_of(record.cell)
    path.unlink()
    store.write(record.model_copy(update={"failure": "the loss diverged", "episodes": ()}))
    broken = path.read_text()
    capsys.readouterr()
    assert run(tmp_path, *settings) == 0
    assert "0 cells recorded, 1 were there already" in capsys.readouterr().out
    assert run(tmp_path, *settings, "engine.retry_failed=true") == 0
    assert contents(tmp_path) == before
    assert (tmp_path / "failed" / path.name).read_text() == broken


def test_runs_under_different_protocols_are_not_reported_together(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "encoders=[oracle]", "horizon=20") == 0
    capsys.readouterr()
    assert main(["report", str(reference), str(tmp_path)]) == 2
    assert "are not comparable: horizon of metaworld/assembly-v3 is 20 and 25" in capsys.readouterr().err


BAD_ENCODERS = """
import torch

def nan(images):
    return torch.full((len(images), 4), float("nan"))

def one_row(images):
    return torch.zeros(1, 4)

def text(images):
    return "features"
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", "returned NaN or infinity in pooled"),
        ("one_row", "returned 1 rows of pooled"),
        ("text", "returned an object of type str; expected a tensor or numpy array"),
        ("absent", "cannot be imported"),
    ],
)
def test_a_faulty_encoder_is_named_and_the_rest_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "bad_encoders.py").write_text(BAD_ENCODERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    status = run(tmp_path / "run", f"encoders=[bad_encoders:{name},oracle]", "readouts=[pooled]")
    assert status in (1, 2)
    assert message in capsys.readouterr().err
    if status == 1:
        (sound,) = (record for record in contents(tmp_path / "run").values() if record["failure"] is None)
        assert sound["cell"]["train"]["encoder"] == "oracle"


def test_missing_weights_are_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(tmp_path / "run", "encoders=[dinov2_vits14,oracle]") == 2
    error = capsys.readouterr().err
    assert "pvrbench weights fetch dinov2_vits14" in error
    assert str(tmp_path / "weights") in error
    assert not (tmp_path / "run").exists()


def test_an_unwritable_run_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file" / "run") == 2
    assert "Choose another folder with run_dir=" in capsys.readouterr().err


def test_a_report_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no records" in capsys.readouterr().err


def test_a_damaged_record_is_left_out_with_a_warning(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").mkdir()
    paths = sorted((reference / "records").glob("*.json"))
    for path in paths:
        (tmp_path / "records" / path.name).write_text(path.read_text())
    (tmp_path / "records" / paths[0].name).write_text("{")
    assert main(["report", str(tmp_path), "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any(paths[0].name in warning and "refused" in warning for warning in warnings)


def test_lists_and_plans_are_machine_readable(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("encoders", "tasks", "heads", "readouts", "presets"):
        assert main(["list", kind, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
    assert main(["plan", *SMALL, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 3
