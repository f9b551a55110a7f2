"""Results in the forms of other programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pvrbench.benchmark.cli import main


def test_a_model_card_holds_the_results_as_metadata(
    made_up_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import ModelCard

    assert main(["export", "model-card", str(made_up_run), f"output={tmp_path}"]) == 0
    path = tmp_path / "pixels_14" / "README.md"
    assert f"{path} written" in capsys.readouterr().out
    card: Any = ModelCard.load(path)
    results = card.data.eval_results
    # Each task and their mean stand under their own name.
    assert {result.task_name for result in results} == {
        "mean over tasks",
        "metaworld/assembly-v3 (left_cap2)",
        "metaworld/button-press-topdown-v3 (left_cap2)",
    }
    assert len({(result.dataset_name, result.metric_name) for result in results}) == len(results) == 9
    assert card.data.license_name
    assert "| mean over tasks | pooled | mlp | 25 |" in card.text
    assert "95 % intervals" in card.text
    assert {result.metric_name for result in results} == {"success at N = 5", "success at N = 10", "success at N = 25"}
    assert all(
        0 <= result.metric_args["low"] <= result.metric_value <= result.metric_args["high"] for result in results
    )


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_a_missing_package_is_named(made_up_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tensorboard", str(made_up_run)]) != 0
    assert "pip install 'pvrbench[tensorboard]'" in capsys.readouterr().err
