"""`pvrbench pretrain`: settings, the frame folder, and what it writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pvrbench.benchmark.catalog import encoder_spec
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.commands import distilling, pretraining
from pvrbench.benchmark.commands.pretraining import PRETRAIN, read_frames
from pvrbench.benchmark.commands.verb import read_words
from pvrbench.encoders.families.timm_backbone import load
from pvrbench.encoders.rows.zoo import zoo_row
from pvrbench.encoders.weights.loading import WeightsError
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.spec import BackboneSpec
from pvrbench.envs.pictures.frame_set import FrameSetError

SIDE, LENGTH, NUM_CLIPS = 32, 6, 6
NEEDED = ["objective=mae", "frames=a", "output=b"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    place = tmp_path / "frames"
    place.mkdir()
    coarse = rng.integers(0, 256, (NUM_CLIPS * LENGTH, 4, 4, 3), np.uint8)
    np.save(place / "frames.npy", coarse.repeat(8, axis=1).repeat(8, axis=2))
    np.save(place / "objects_in_image.npy", rng.random((NUM_CLIPS * LENGTH, 2, 2), np.float32))
    np.save(place / "objects.npy", np.zeros((NUM_CLIPS * LENGTH, 2, 3), np.float32))
    common = {"length": LENGTH, "task": "t", "seed": 0, "camera": "c", "noise": 0.0, "success": True}
    clips = [{**common, "start": LENGTH * i, "instruction": ("push it", "lift it")[i % 2]} for i in range(NUM_CLIPS)]
    (place / "clips.json").write_text(
        json.dumps({"schema": 1, "image_px": SIDE, "digest": "d", "provenance": {}, "clips": clips})
    )
    return place


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BackboneSpec(width=32, depth=1, num_heads=1, patch_px=8, image_px=SIDE)
    rows = {name: dataclasses.replace(row, backbone=backbone) for name, row in OBJECTIVES.items()}
    monkeypatch.setattr(pretraining, "OBJECTIVES", rows)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["mae", "clip"])
def test_weights_card_and_figures_are_written(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["pretrain", f"objective={name}", f"frames={folder}", f"output={output}", "num_samples=32"]
    command += ["batch_size=8", "eval_every=2", "log_every=1", "held_out=0.3"]
    assert main(command) == 0
    assert "held-out loss" in capsys.readouterr().out
    found = {path.name for path in output.iterdir()}
    assert found == {"weights.safetensors", "card.json", "loss.png", "picture.png", "checkpoint.pt", "log.jsonl"}
    card = json.loads((output / "card.json").read_text())
    assert (card["objective"], card["frames_seen"], card["num_steps"], card["data"]["digest"]) == (name, 32, 4, "d")
    assert card["settings"]["batch_size"] == 8
    assert [step for step, _ in card["loss_curve"]] == [1, 2, 3, 4]
    assert card["flops"] > 0
    assert set(card["probe"]["trained"]) == {"class_token", "mean", "grid"}
    assert card["beats_trivial"]["loss"] == (card["held_out"]["loss"] < card["trivial"]["loss"])
    spec, file = pretraining.OBJECTIVES[name], output / "weights.safetensors"
    row = zoo_row(spec, f"file:{file}", sha256=card["weights"]["sha256"])
    assert load(row).encode(torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)).grid is not None
    with pytest.raises(WeightsError, match="not the published file"):
        load(zoo_row(spec, f"file:{file}", sha256="0" * 64))
    assert main([*command, "weight_decay=0.3"]) == 2
    assert "weight_decay=0.3 is asked now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["objective=mae", "frames=a"], r"needs output=\.\.\."),
        (["objective=mea", "frames=a", "output=b"], "Unknown objective 'mea'. Did you mean 'mae'?"),
        ([*NEEDED, "num_sample=3"], "Unknown setting 'num_sample'. Did you mean 'num_samples'?"),
        ([*NEEDED, "fast"], "'fast' is not a setting"),
        ([*NEEDED, "batch_size=0"], "batch_size=0 is not valid: input should be greater than or equal to 1"),
        ([*NEEDED, "lr_factor=x"], "lr_factor='x' is not valid: input should be a valid number"),
        ([*NEEDED, "options.mask=0.5"], r"Unknown setting 'options\.mask'"),
        ([*NEEDED, "options.mask_ratio=most"], r"options\.mask_ratio=most is not a number"),
    ],
)
def test_bad_settings_are_named(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_words(PRETRAIN, texts).spec()


def test_settings_reach_the_recipe() -> None:
    texts = ["num_samples=640", "seed=3", "lr_factor=0.5", "options.mask_ratio=0.5", "threads=2"]
    settings = read_words(PRETRAIN, [*NEEDED, *texts])
    spec = settings.spec()
    assert (spec.recipe.num_samples, spec.recipe.seed, spec.options["mask_ratio"]) == (640, 3, 0.5)
    assert spec.recipe.phases[0].lr == OBJECTIVES["mae"].recipe.phases[0].lr / 2
    assert (settings.threads, settings.device) == (2, "cpu")


def test_folders_that_are_no_frame_set_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameSetError, match=r"is no finished frame set: clips\.json is missing"):
        read_frames(tmp_path)
    np.save(folder / "objects_in_image.npy", np.zeros((3, 2)))
    with pytest.raises(FrameSetError, match="do not fit its clips"):
        read_frames(folder)


def test_a_student_is_distilled_and_named_by_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = BackboneSpec(width=32, depth=1, num_heads=1, patch_px=8, image_px=SIDE)
    monkeypatch.setattr(distilling, "STUDENTS", {"zoo_vit": backbone})
    output = tmp_path / "student"
    command = ["distil", "teacher=[pixels_7,pixels_14]", f"frames={folder}", f"output={output}", "num_samples=16"]
    assert main([*command, "batch_size=8", "held_out=0.3"]) == 0
    assert "held-out loss" in capsys.readouterr().out
    assert set(json.loads((output / "card.json").read_text())["findings"]) == {"pixels_7", "pixels_14"}
    assert encoder_spec(f"pretrained:{output}", SIDE).feature_dim == 32
    assert main(["distil", "teacher=zoo_meh", f"frames={folder}", f"output={output}"]) == 2
    assert "Unknown encoder 'zoo_meh'. Did you mean 'zoo_mae'?" in capsys.readouterr().err
    assert main([*command, "student=vit"]) == 2
    assert "Unknown student 'vit'. Did you mean 'zoo_vit'?" in capsys.readouterr().err
