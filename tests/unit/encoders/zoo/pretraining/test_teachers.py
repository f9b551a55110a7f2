"""Students learn what frozen teachers of any architecture see, say how much, and become encoders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from pvrbench.benchmark.commands.pretraining_card import write_result
from pvrbench.encoders.families.timm_backbone import load
from pvrbench.encoders.reference import spec_for
from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames
from pvrbench.encoders.zoo.pretraining.catalog import DISTILLATION, STUDENTS
from pvrbench.encoders.zoo.pretraining.spec import BackboneSpec, ObjectiveSpec, PretrainingError
from pvrbench.encoders.zoo.pretraining.teachers import Translator, load_teacher
from pvrbench.encoders.zoo.pretraining.training import Trained, pretrain

SIDE, TEACHERS = 32, "pixels_7|pixels_14"


def student_of(teachers: str, num_steps: int, **recipe: object) -> ObjectiveSpec:
    changes = {"num_samples": 16 * num_steps, "batch_size": 16, "held_out": 0.25, "eval_every": 0, **recipe}
    phases = (dataclasses.replace(DISTILLATION.recipe.phases[0], lr=3e-3),)
    return dataclasses.replace(
        DISTILLATION,
        backbone=BackboneSpec(width=32, depth=2, num_heads=2, patch_px=8, image_px=SIDE),
        recipe=dataclasses.replace(DISTILLATION.recipe, phases=phases, **changes),  # pyright: ignore[reportArgumentType]
        options={"teachers": teachers},
    )


@pytest.fixture(scope="module")
def trained(frames: PretrainingFrames, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    # Cells of pixels, whose grids are finer than the student's.
    return pretrain(student_of(TEACHERS, 80), frames, tmp_path_factory.mktemp("student"))


def test_a_student_learns_from_several_teachers(trained: Trained) -> None:
    for name, value in trained.trivial.items():
        assert trained.held_out[name] < value, (name, trained.held_out, trained.trivial)


@pytest.mark.parametrize("name", ["random_resnet18_64", pytest.param("random_zoo_unet", marks=pytest.mark.slow)])
def test_another_architecture_teaches_a_transformer(name: str, frames: PretrainingFrames, tmp_path: Path) -> None:
    trained = pretrain(student_of(name, 2, batch_size=4, num_samples=8, eval_batches=1), frames, tmp_path)
    found = cast("dict[str, Any]", trained.findings)[name]
    assert found["digest"]
    assert all(-1.0 <= value <= 1.0 for value in found["cosine_by_layer"])


def test_findings_say_how_much_of_each_teacher_is_kept_by_layer(trained: Trained) -> None:
    findings = cast("dict[str, Any]", trained.findings)
    assert set(findings) == set(TEACHERS.split("|"))
    for found in findings.values():
        assert len(found["cosine_by_layer"]) == 2
        assert 0.0 < found["variance_kept_by_layer"][-1] <= 1.0
    assert findings["pixels_7"]["variance_kept_by_layer"][-1] > 0.5


def test_a_student_is_an_encoder_like_any_other(trained: Trained, frames: PretrainingFrames, tmp_path: Path) -> None:
    spec = student_of(TEACHERS, 80)
    write_result(spec, trained, frames, tmp_path, "cpu")
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["findings"] == trained.findings
    row = spec_for(f"pretrained:{tmp_path}", SIDE)
    assert (row.outputs, row.default_readout, row.grid_side, row.feature_dim) == (("grid",), "mean", 4, 32)
    assert load(row).encode(torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)).grid is not None


def test_folders_without_a_training_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names no finished training: there is no .*card\.json"):
        spec_for(f"pretrained:{tmp_path}")
    (tmp_path / "card.json").write_text('{"objective": "mea", "settings": {}}')
    with pytest.raises(ValueError, match="no card of this version"):
        spec_for(f"pretrained:{tmp_path}")


def test_an_interrupted_distillation_goes_on_to_the_same_weights(frames: PretrainingFrames, tmp_path: Path) -> None:
    spec = student_of("pixels_7", 4, checkpoint_every=2, log_every=1)
    whole = pretrain(spec, frames, tmp_path / "whole")

    def stop(done: int, total: int, loss: float) -> None:
        del total, loss
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(spec, frames, tmp_path / "cut", on_progress=stop)
    resumed = pretrain(spec, frames, tmp_path / "cut").objective.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.objective.state_dict().items())
    assert not any("teacher" in name for name in resumed)


TEACHER = """
import torch
from torch import nn

class Taught(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 256, 8, stride=8)
        self.patches.load_state_dict(torch.load(WEIGHTS))

    def forward(self, images):
        return self.patches(images.permute(0, 3, 1, 2).float() / 255)
"""


def test_a_training_does_not_go_on_with_a_teacher_that_changed(
    frames: PretrainingFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pt"
    (tmp_path / "taught_by.py").write_text(TEACHER.replace("WEIGHTS", repr(str(weights))))
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = student_of("taught_by:Taught", 2, batch_size=4, num_samples=8, eval_batches=1)
    torch.save(torch.nn.Conv2d(3, 256, 8, stride=8).state_dict(), weights)
    pretrain(spec, frames, tmp_path / "student")
    pretrain(spec, frames, tmp_path / "student")
    torch.save(torch.nn.Conv2d(3, 256, 8, stride=8).state_dict(), weights)
    with pytest.raises(PretrainingError, match="was begun with teacher taught_by:Taught="):
        pretrain(spec, frames, tmp_path / "student")


def test_a_token_gives_the_positions_of_a_finer_grid() -> None:
    translator = Translator(8, 5, student_side=4, teacher_side=7)
    assert translator.fold == 2
    assert translator(torch.rand(3, 16, 8)).shape == (3, 5, 7, 7)
    assert Translator(8, 5, student_side=4, teacher_side=2)(torch.rand(3, 16, 8)).shape == (3, 5, 2, 2)


@pytest.mark.parametrize(
    ("name", "num_params", "text"),
    [
        ("oracle", 10, "no grid, and a student learns spatial features"),
        ("zoo_mae", 3_000_000, "student has 3,000,000 parameters and teacher 'zoo_mae' has 2,827,008"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(name: str, num_params: int, text: str) -> None:
    with pytest.raises(PretrainingError, match=text):
        load_teacher(name, num_params, 112)


def test_students_are_smaller_than_the_zoo_or_like_it() -> None:
    assert STUDENTS["zoo_vit_half"].width * 2 == STUDENTS["zoo_vit"].width
