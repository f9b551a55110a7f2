"""What tasks and pages say of the references is what the committed records hold."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from pvrbench.envs.catalog import TASKS

STUDY: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[3] / "performance" / "study_references.py"))


def test_tasks_carry_what_the_records_hold() -> None:
    parts = STUDY["read_parts"](STUDY["FOLDER"])
    assert STUDY["MEASURED"].read_text() == STUDY["measured_table"](parts["standard"])
    found = STUDY["measured"](parts["standard"])
    assert {task: TASKS[task].measured for task in found} == found


def test_the_page_of_tasks_shows_what_the_records_hold() -> None:
    section = STUDY["page_section"](STUDY["read_parts"](STUDY["FOLDER"]))
    assert STUDY["SECTION"].search(STUDY["PAGE"].read_text())[0].count(section) == 1
    assert "| `standard` | metaworld/assembly-v3 | 25 | 3000 |" in section
