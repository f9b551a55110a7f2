"""The analysis of the head study, on made-up records."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pvrbench.benchmark.records.store import RecordStore

STUDY: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[3] / "performance" / "analyse_heads.py"))

MakeRun = Callable[..., Path]


def values(rates: dict[str, float]) -> dict[str, np.ndarray[Any, Any]]:
    """Success 3 tasks x 2 seeds x 20 states with exactly these rates."""
    row = np.arange(20) / 20
    return {name: np.tile((row < rate).astype(float), (3, 2, 1)) for name, rate in rates.items()}


ORDER = {"oracle": 0.9, "one mean": 0.7, "other mean": 0.5, "proprio": 0.2}


def test_the_same_order_has_tau_one_and_the_reverse_minus_one() -> None:
    base = values(ORDER)
    same = STUDY["agreement"](base, values({name: rate - 0.1 for name, rate in ORDER.items()}))
    assert (same["tau"], same["tau_images"], same["tau_by_task"]) == pytest.approx((1, 1, 1))
    assert same["difference"] == pytest.approx(-0.1)
    assert same["difference_low"] <= same["difference"] <= same["difference_high"]
    back = STUDY["agreement"](base, values({name: 1 - rate for name, rate in ORDER.items()}))
    assert (back["tau"], back["tau_images"], back["tau_by_task"]) == pytest.approx((-1, -1, -1))
    assert (back["tau_low"], back["tau_high"]) == pytest.approx((-1, -1))


def test_ties_count_half_and_a_swap_of_neighbours_is_seen() -> None:
    swapped = STUDY["agreement"](values(ORDER), values({**ORDER, "one mean": 0.5, "other mean": 0.7}))
    assert swapped["tau"] == pytest.approx(4 / 6)  # one of six pairs is reversed
    assert swapped["tau_images"] == pytest.approx(-1)


def test_pairs_that_are_significant_under_both_heads_are_counted_and_those_that_they_order_otherwise() -> None:
    base = values({"one": 0.9, "other": 0.1})
    same = STUDY["agreement"](base, values({"one": 0.8, "other": 0.1}))
    back = STUDY["agreement"](base, values({"one": 0.1, "other": 0.9}))
    level = STUDY["agreement"](base, values({"one": 0.5, "other": 0.5}))

    assert [(found["significant"], found["reversed"]) for found in (same, back, level)] == [(1, 0), (1, 1), (0, 0)]


def test_encoders_are_set_side_by_side_over_the_readouts_that_all_have() -> None:
    rates = {"a mean": 0.2, "a grid4": 0.4, "a class_token": 1.0, "b mean": 0.6, "b grid4": 0.8, "oracle": 1.0}
    found = STUDY["by_encoder"](values(rates))
    assert {name: part.mean() for name, part in found.items()} == pytest.approx({"a": 0.3, "b": 0.7})


def test_how_far_a_readout_is_ahead_is_counted_over_the_encoders_that_have_both() -> None:
    rates = {"a class_token": 0.2, "a grid_pca": 0.8, "b class_token": 0.4, "b grid_pca": 0.4, "c mean": 0.9}
    found = STUDY["ahead_of_class_token"](values(rates), "grid_pca")
    # Of a 0.6, of b nothing.
    assert found["grid_pca"] == pytest.approx(0.3)
    assert np.isnan(STUDY["ahead_of_class_token"](values(rates), "grid4")["grid4_low"])


def test_complete_variations_are_compared_and_others_named(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {"oracle": 1.0, "pixels_14": 0.8, "pixels_7": 0.4, "proprio": 0.1}
    tiny = ("num_demos=[10]", "horizon=150")
    for name, head in (("base", "mlp"), ("gmm", "gmm"), ("batch_32", "mlp"), ("cut", "mlp")):
        seeds = "seeds=[0]" if name == "batch_32" else "seeds=[0,1]"
        make_run(tmp_path / name, *tiny, seeds, f"heads=[{head}]", rates=rates)
    next((tmp_path / "cut" / "records").glob("*pixels_7-*")).unlink()
    assert RecordStore(tmp_path / "gmm").pack() > 0  # committed records are packed
    (tmp_path / "soon" / "records").mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["analyse_heads.py", str(tmp_path), "--output", str(tmp_path / "out")])
    STUDY["main"]()
    said = capsys.readouterr()
    assert "pixels_7 pooled is left out of cut: it lacks cells there" in said.err
    assert "soon has no records yet" in said.err
    lines = said.out.split("\n\n")[0].splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| (base, seed 1 for 0)",
        "| base",
        "| cut",
        "| gmm",
        "| batch_32",
    ]
    # The made-up outcomes do not depend on the head but by the name of the cell; batch_32 repeats the base's seed 0.
    agreements = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index("variation")
    assert agreements.loc["batch_32", "tau"] == pytest.approx(1)
    assert agreements.loc["batch_32", "difference"] == 0
    assert agreements.loc[["cut", "gmm", "batch_32"], "contenders"].tolist() == [3, 4, 4]
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert set(scores["task"]) == {"all", "metaworld/assembly-v3", "metaworld/button-press-topdown-v3"}
    assert ((scores["low"] <= scores["success"]) & (scores["success"] <= scores["high"])).all()
    assert (tmp_path / "out" / "study.png").stat().st_size > 5000


def test_a_study_without_its_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no run named 'base'"):
        STUDY["read_study"](tmp_path)
