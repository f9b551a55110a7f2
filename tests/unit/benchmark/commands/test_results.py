"""rank, power, submit, leaderboard and the table of records, as a user meets them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pvrbench
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.store import PACKED_NAME, RecordError, RecordStore, read_record
from pvrbench.benchmark.reporting.leaderboard import BEGIN, END
from pvrbench.benchmark.reporting.submission import Conformance, SubmissionError, submit, without_folder

MakeRun = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[4]


def copied(run: Path, target: Path) -> Path:
    (target / "records").mkdir(parents=True)
    for path in [run / "config.json", *(run / "records").glob("*.json")]:
        (target / path.relative_to(run)).write_text(path.read_text())
    return target


def test_rank_prints_a_table_json_and_csv(made_up_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", str(made_up_run)]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 pairs are significantly different" in " ".join(shown.split())
    assert main(["rank", str(made_up_run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    places = {row["encoder"]: (row["best_rank"], row["worst_rank"]) for row in found["ranking"]}
    assert (places["pixels_14"], places["pixels_7"]) == ((1, 1), (2, 2))
    assert found["comparisons"][0]["probability_of_improvement"] == 1
    needed = {row["contender"]: row["num_demos"] for row in found["demonstrations_needed"] if row["success"] == 0.5}
    assert needed["pixels_14/pooled/mlp"] == 5
    assert needed["pixels_7/pooled/mlp"] is None
    assert main(["rank", str(made_up_run), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["encoder"] for row in rows} == {"pixels_14", "pixels_7", "oracle", "proprio"}


def test_runs_that_share_their_references_are_merged(
    tmp_path: Path, made_up_run: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_run(tmp_path / "other", rates={"oracle": 1.0, "proprio": 0.1, "random_resnet18_64": 0.5})
    assert main(["rank", str(made_up_run), str(other), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["ranking"]) == 5


DIFFERENCES: dict[str, tuple[list[str], dict[str, str]]] = {
    "initial_states of metaworld/assembly-v3 is s and t": ([], {"initial_states": "t"}),
    "simulator of metaworld/assembly-v3 is mujoco=3.3.0 and mujoco=3.4.0": ([], {"simulator": "3.4.0"}),
    "digest of pixels_7 is pixels_7 and w": ([], {"pixels_7": "w"}),
    "render is full and lean": (["render=full"], {}),
    "train.num_updates of mlp is ": (["train.num_updates=7"], {}),
    "preset is quickstart and standard": (["preset=standard", "tasks=[robosuite/lift]"], {}),
}


@pytest.mark.parametrize("reason", DIFFERENCES)
def test_incomparable_runs_are_refused_with_what_differs(
    tmp_path: Path, made_up_run: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    overrides, digests = DIFFERENCES[reason]
    other = make_run(tmp_path / "other", *overrides, digests=digests)
    assert main(["rank", str(made_up_run), str(other)]) == 2
    error = capsys.readouterr().err
    assert "are not comparable" in error
    assert reason in error


def test_runs_that_disagree_about_a_cell_are_refused(
    tmp_path: Path, made_up_run: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_run(tmp_path / "other", rates={"oracle": 0.5})
    assert main(["rank", str(made_up_run), str(other)]) == 2
    assert "hold different results of metaworld_" in capsys.readouterr().err


def test_one_seed_is_said_to_be_one_seed(tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", str(make_run(tmp_path / "run", "seeds=[0]"))]) == 0
    assert "There is one training seed, so the variation between training runs is unknown" in " ".join(
        capsys.readouterr().out.split()
    )


def test_power_says_what_can_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "seeds=3", "episodes=25", "gap=0.05"]) == 0
    said = capsys.readouterr().out
    assert "3 seeds x 25 episodes on 1 task can only detect a 23-point gap" in said
    assert "A 5-point gap needs 63 seeds at 25 episodes each." in said
    assert main(["power", "seeds=3", "episodes=25", "seed_sd=0.1", "--json", "gap=0.05"]) == 0
    assert json.loads(capsys.readouterr().out)["needs"]["episodes"] is None
    assert main(["power", "episodes=0"]) == 2
    assert capsys.readouterr().err == "error: episodes=0 is too few; expected 1 or more.\n"


def test_the_table_has_a_row_for_each_episode_whatever_the_order(made_up_run: Path) -> None:
    table = pvrbench.read_records(made_up_run)
    files = sorted((made_up_run / "records").glob("*.json"))
    assert len(table) == 20 * len(files)
    assert table["success"].dtype == bool
    assert table.equals(pvrbench.read_records(files[::-1]))
    record = read_record(files[0])
    own = table[table["record"] == record.digest]
    assert own["success"].tolist() == [episode.success for episode in record.episodes]
    assert set(own["encoder"]) == {record.cell.encoder}


def test_the_table_leaves_out_what_is_no_record_and_says_so(made_up_run: Path, tmp_path: Path) -> None:
    run = copied(made_up_run, tmp_path / "run")
    first = min((run / "records").glob("*.json"))
    first.write_text(first.read_text()[:50])
    with pytest.warns(UserWarning, match=rf"{re.escape(first.name)} was refused: it is not whole JSON"):
        table = pvrbench.read_records(run)
    assert len(table) == len(pvrbench.read_records(made_up_run)) - 20
    with pytest.raises(RecordError, match="no sound records"):
        pvrbench.read_records(tmp_path)


def test_the_table_counts_a_record_once_and_warns_of_two_results_of_a_cell(made_up_run: Path, tmp_path: Path) -> None:
    once = pvrbench.read_records(made_up_run)
    assert pvrbench.read_records([made_up_run, copied(made_up_run, tmp_path / "again")]).equals(once)
    file = min((made_up_run / "records").glob("*.json"))
    record = read_record(file)
    episodes = tuple(item.model_copy(update={"success": not item.success}) for item in record.episodes)
    RecordStore(tmp_path / "other").write(record.model_copy(update={"episodes": episodes}))
    with pytest.warns(UserWarning, match=f"There are 2 results of {record.cell.slug}"):
        assert len(pvrbench.read_records([made_up_run, tmp_path / "other"])) == len(once) + len(episodes)


def test_importing_the_package_imports_no_pandas() -> None:
    code = "import sys, pvrbench; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def kept(digest_of: Callable[[str], str] = str) -> Callable[[str], Conformance]:
    return lambda name: Conformance(digest_of(name), ())


def test_a_complete_run_is_submitted_unchanged_and_again(tmp_path: Path, made_up_run: Path) -> None:
    folder = submit(made_up_run, tmp_path, "mine", kept())
    assert {path.name for path in folder.iterdir()} == {"config.json", PACKED_NAME, "submission.json"}
    ours, theirs = ({record.digest for record in RecordStore(run).read()[0]} for run in (folder, made_up_run))
    assert ours == theirs
    said = json.loads((folder / "submission.json").read_text())
    assert said["encoders"]["pixels_7"] == {
        "licence": "MIT",
        "non_commercial": False,
        "digest": "pixels_7",
        "conformance": "kept",
    }
    assert submit(made_up_run, tmp_path, "mine", kept()) == folder


def test_no_path_of_the_submitter_is_submitted(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "run", f"run_dir={tmp_path}/run", f"engine.cache_dir={tmp_path}/cache")
    folder = submit(run, tmp_path / "out")
    assert all(str(tmp_path) not in path.read_text() for path in folder.rglob("*.json"))
    assert json.loads((folder / "submission.json").read_text())["encoders"]["oracle"]["conformance"] == "not checked"


def test_everything_that_is_wrong_with_a_submission_is_said(tmp_path: Path, made_up_run: Path) -> None:
    run = copied(made_up_run, tmp_path / "run")
    gone, edited = sorted((run / "records").glob("*.json"))[:2]
    gone.unlink()
    edited.write_text(edited.read_text().replace('"success": true', '"success": false', 1))

    def broken(name: str) -> Conformance:
        return Conformance(
            "other" if name == "oracle" else name, ("is frozen: it is not",) if name == "proprio" else ()
        )

    with pytest.raises(SubmissionError) as caught:
        submit(run, tmp_path / "out", check=broken)
    for reason in (
        f"{edited.name} was changed after it was written",
        "2 of 72 cells are planned but not recorded",
        "proprio breaks the contract: is frozen: it is not",
        "oracle is not what was recorded",
    ):
        assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_submission_needs_a_licence_and_a_free_name(tmp_path: Path, made_up_run: Path, make_run: MakeRun) -> None:
    unlicensed = make_run(tmp_path / "run", digests={"licence": ""})
    with pytest.raises(SubmissionError, match="the licence of oracle is not recorded"):
        submit(unlicensed, tmp_path / "out")
    submit(made_up_run, tmp_path / "out", "taken")
    other = make_run(tmp_path / "other", rates={"oracle": 1.0})
    with pytest.raises(SubmissionError, match="already holds something else"):
        submit(other, tmp_path / "out", "taken")
    with pytest.raises(SubmissionError, match="is not a valid folder name"):
        submit(made_up_run, tmp_path / "out", "../up")


def test_conformance_is_checked_on_the_recorded_encoder(
    tmp_path: Path, made_up_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(made_up_run), f"output={tmp_path}"]) == 2
    assert "pixels_14 is not what was recorded" in capsys.readouterr().err


def test_the_leaderboard_shows_only_comparable_submissions_together(
    tmp_path: Path, made_up_run: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    alike = make_run(tmp_path / "alike", rates={"oracle": 1.0, "random_resnet18_64": 0.5})
    apart = make_run(tmp_path / "apart", digests={"initial_states": "t"})
    for name, run in (("one", made_up_run), ("two", alike), ("three", apart)):
        submit(run, tmp_path / "submissions", name)
    assert main(["leaderboard", f"results={tmp_path}"]) == 0
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "\nold\n" not in text
    assert text.count("### quickstart, protocol") == 2
    assert "[one](submissions/one), [two](submissions/two)." in text
    assert main(["leaderboard", f"results={tmp_path}"]) == 0
    assert page.read_text() == text
    (tmp_path / "submissions" / "two" / PACKED_NAME).write_bytes(gzip.compress(b"{\n"))
    assert main(["leaderboard", f"results={tmp_path}"]) == 2
    assert "two is not a submission" in capsys.readouterr().err
    assert page.read_text() == text
    page.write_text("no marks")
    assert main(["leaderboard", f"results={tmp_path}"]) == 2
    assert "has no place for the leaderboard" in capsys.readouterr().err


def test_a_submission_does_not_publish_where_files_lie(made_up_run: Path, tmp_path: Path) -> None:
    run = copied(made_up_run, tmp_path / "run")
    store = RecordStore(run)
    for record in store.read()[0]:
        if record.cell.encoder == "pixels_7":
            store.path_of(record.cell).unlink()
            train = record.cell.train.model_copy(update={"encoder": "file:/home/me/secret/mae.pth?model=vit_tiny"})
            store.write(record.model_copy(update={"cell": record.cell.model_copy(update={"train": train})}))
    with pytest.raises(SubmissionError) as caught:
        submit(run, tmp_path / "submissions")
    assert "publishes where your files lie; run it by a name of its own: encoders=[mae=file:/home/me/" in str(
        caught.value
    )
    assert not (tmp_path / "submissions").exists()
    assert without_folder("mae=file:/home/me/secret/mae.pth?model=vit_tiny&mean=0.5") == (
        "mae=file:mae.pth?model=vit_tiny&mean=0.5"
    )
    assert [without_folder(name) for name in ("pixels_7", "my:Enc", "a=my:Enc")] == ["pixels_7", "my:Enc", "a=my:Enc"]
