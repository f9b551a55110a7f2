"""Results in the forms of other programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.reporting.export import folder_name


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


def test_names_that_differ_in_signs_alone_have_folders_of_their_own() -> None:
    names = ["a/b", "a:b", "a_b", "a b", "..", ".", "hf:x/" + "y" * 300, "hf:x/" + "y" * 301]
    folders = [folder_name(name) for name in names]
    assert len({name.lower() for name in folders}) == len(names)
    assert folders[2] == "a_b"
    assert all(Path(name).name == name and len(name) < 120 and name not in ("", ".", "..") for name in folders)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_a_missing_package_is_named(made_up_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tensorboard", str(made_up_run)]) != 0
    assert "pip install 'pvrbench[tensorboard]'" in capsys.readouterr().err
