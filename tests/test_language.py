"""Instructed policies from the command line: trained once, tried under every instruction, found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvrbench.benchmark.analysis.frame import read_records
from pvrbench.benchmark.cli import main

pytestmark = [pytest.mark.usefixtures("shared_cache"), pytest.mark.xdist_group("pipeline"), pytest.mark.slow]

SMALL = [
    *("tasks=[language/touch_red,language/touch_blue]", "encoders=[oracle]", "baselines=[]", "heads=[mlp]"),
    *("text_encoders=[one_hot,constant]", "conditionings=[concat,film]", "num_demos=[2]", "seeds=[0]"),
    *("num_episodes=2", "demo_pool=2", "train.num_updates=200", "engine.videos=false"),
]


def test_a_run_trains_each_policy_once_and_says_what_was_handled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    assert main(["run", *SMALL, f"run_dir={run_dir}"]) == 0
    assert "4 policies were stored already" in " ".join(capsys.readouterr().out.split())
    table = read_records(run_dir)
    assert len(table) == 4 * 2 * 2
    assert set(table["instruction"]) == {"touch the red cube", "touch the blue cube"}
    assert len(list((run_dir / "policies").glob("*.json"))) == 4
    # Who is told nothing does the same under both instructions.
    blind = table[table["text_encoder"] == "constant"]
    for _, rows in blind.groupby(["conditioning", "episode"]):
        first = {str(names).partition("+")[0] for names in rows["handled"]}
        assert len(first) == 1

    assert main(["evaluate", str(run_dir), "wordings=[swapped,paraphrases]", "name=other"]) == 0
    other = read_records(run_dir / "evaluations" / "other")
    assert len(other) == 4 * 2 * 2 * 4
    assert main(["run", *SMALL, f"run_dir={run_dir}"]) == 0
    assert "0 cells recorded, 8 were there already" in " ".join(capsys.readouterr().out.split())
