"""Videos are a side show: what goes wrong with them is said once and costs no results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.video import VideoWriter
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.records.schema import Episode

FRAMES = [np.zeros((32, 32, 3), np.uint8)] * 2


def test_a_folder_of_videos_that_is_a_file_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "videos").touch()
    said: list[str] = []
    writer = VideoWriter(tmp_path / "videos", said.append)
    cell = make_plan(compose_config(["preset=quickstart"])).cells[0]
    for index in range(2):
        assert writer.write(cell, Episode(index=index, seed=7, success=True, num_steps=2), FRAMES, 20.0) is None
    (warning,) = said
    assert "warning: videos are left out" in warning


def test_a_video_that_fails_half_way_leaves_no_part(tmp_path: Path) -> None:
    said: list[str] = []
    cell = make_plan(compose_config(["preset=quickstart"])).cells[0]
    # A file in the place of its description, which is written last, cannot be replaced where it is a folder.
    (tmp_path / f"{cell.slug}-e0.json").mkdir()
    written = VideoWriter(tmp_path, said.append).write(
        cell, Episode(index=0, seed=7, success=True, num_steps=2), FRAMES, 20.0
    )
    assert written is None
    assert len(said) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
