"""What a report says of changed looks, and its sheets of pictures."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pvrbench.benchmark.engine.look_pictures import picture_path, write_picture
from pvrbench.benchmark.records.keys import EvalKey
from pvrbench.benchmark.reporting.report import write_report
from pvrbench.benchmark.reporting.sheets import SIDE_PX, write_sheets

LOOKS = "looks=[light/darker@1,light/darker@3,distractors@2]"


@pytest.fixture(scope="module")
def shifted_run(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    run_dir = tmp_path_factory.mktemp("looks") / "run"
    make_run(run_dir, LOOKS, "tasks=[metaworld/assembly-v3]", "num_demos=[5,25]")
    for number, look in enumerate(("nominal", "light/darker@1", "light/darker@3", "distractors@2")):
        place = EvalKey(task="metaworld/assembly-v3", camera="left_cap2", look=look)
        write_picture(run_dir / "looks", place, np.full((24, 24, 3), 60 * number, np.uint8))
    return run_dir


def test_a_report_shows_changed_looks_beside_the_nominal_ranking(shifted_run: Path, tmp_path: Path) -> None:
    report = write_report([shifted_run], tmp_path)
    with (tmp_path / "looks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {f"{row['axis']}@{row['level']}" for row in rows} == {"light/darker@1", "light/darker@3", "distractors@2"}
    assert {row["encoder"] for row in rows} == {"pixels_14", "pixels_7", "oracle", "proprio"}
    for row in rows:
        assert float(row["retained_low"]) <= float(row["retained"])
        assert float(row["retained"]) == pytest.approx(float(row["shifted"]) / float(row["nominal"]), abs=1e-4)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Changed looks" in text
    assert "looks-metaworld_assembly_v3_left_cap2.png" in text.replace("-v3", "_v3")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Retained success, % of the nominal score" in html
    assert "Does the nominal ranking foretell" in html
    assert (tmp_path / "looks.png").is_file()
    assert set(report.summary["looks"]) == {"light/darker@1", "light/darker@3", "distractors@2"}  # type: ignore[call-overload]


def test_a_report_of_one_look_says_nothing_of_others(made_up_run: Path, tmp_path: Path) -> None:
    report = write_report([made_up_run], tmp_path)
    assert report.summary["looks"] == {}
    assert not (tmp_path / "looks.csv").exists()
    assert "Changed looks" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_sheet_has_a_row_for_each_axis_and_a_column_for_each_level(shifted_run: Path, tmp_path: Path) -> None:
    (sheet,) = write_sheets([shifted_run / "looks", tmp_path / "absent"], tmp_path).values()
    with Image.open(sheet) as picture:
        pixels = np.array(picture)
    step = SIDE_PX + 6
    assert pixels.shape[1] == 4 * step - 6
    # distractors in the first row, light in the second; the columns are nominal and levels 1 to 3.
    row, column = 14 + SIDE_PX // 2, SIDE_PX // 2
    found = [[int(pixels[row + y * (step + 14), column + x * step, 0]) for x in range(4)] for y in range(2)]
    assert found == [[0, 255, 180, 255], [0, 60, 255, 120]]


def test_pictures_of_different_looks_have_different_files() -> None:
    places = [EvalKey(task="a/b", camera="c", look=look) for look in ("nominal", "light/darker@1", "light/darker@1s1")]
    assert len({picture_path(Path(), place) for place in places}) == 3
