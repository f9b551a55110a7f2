"""The analysis of the study of the zoo, on made-up records."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pvrbench.encoders.weights.location import SHIPPED

STUDY: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[3] / "performance" / "study_zoo.py"))
RATES = {
    **dict.fromkeys(STUDY["ENCODERS"], 0.5),
    **{"zoo_mae": 1.0, "zoo_vcond": 1.0, "random_zoo_vit": 0.5, "random_zoo_unet": 0.5, "oracle": 1.0, "proprio": 0.2},
}

MakeRun = Callable[..., Path]


def test_contrasts_follow_the_records_and_cut_tasks_are_left_out(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readouts = f"readouts=[{','.join(STUDY['READOUTS'])}]"
    run = make_run(tmp_path / "run", readouts, "num_demos=[10,25]", "seeds=[0,1,2,3]", "horizon=150", rates=RATES)
    next((run / "records").glob("metaworld_button*oracle*")).unlink()
    monkeypatch.setattr("sys.argv", ["study_zoo.py", "analyse", "--folder", str(run)])
    STUDY["main"]()
    said = capsys.readouterr()
    assert "metaworld/button-press-topdown-v3 is left out: it has" in said.err
    assert "| zoo_mae against untrained, grid_pca |" in said.out
    contrasts: Any = pd.read_csv(run / "contrasts.csv").set_index(["contrast", "num_demos"])
    masked = contrasts.loc[("masked against contrastive, grid_pca", "all")]
    assert 0 < masked["low"] <= masked["difference"] <= masked["high"]
    assert masked["p"] < 0.05
    assert masked["p"] <= masked["p_holm"]
    # A convolutional network has no class token.
    assert ("zoo_dift against untrained, class_token", "all") not in contrasts.index
    alike = contrasts.loc[("zoo_simclr against untrained, mean", "all")]
    assert alike["low"] <= 0 <= alike["high"]
    scores: Any = pd.read_csv(run / "scores.csv")
    assert set(scores["num_demos"]) == {"10", "25", "all"}
    assert (run / "study.png").stat().st_size > 5000


@pytest.mark.parametrize("encoder", STUDY["ENCODERS"])
def test_each_card_says_what_the_committed_study_found(encoder: str) -> None:
    table = pd.read_csv(Path(__file__).parents[4] / "results" / "studies" / "zoo" / "contrasts.csv")
    found = STUDY["against_untrained"](table, encoder)
    card = json.loads((SHIPPED / f"{encoder.removeprefix('zoo_')}.json").read_text())
    assert card["policies"] == found
    # Two encoders are not significantly better than their untrained twin at any N.
    is_ahead = any(found["significantly_ahead_at_n"].values())
    assert is_ahead == (encoder not in ("zoo_mae", "zoo_vcond", "zoo_simclr"))
