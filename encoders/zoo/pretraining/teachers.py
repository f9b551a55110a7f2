"""Distillation: the small vision transformer learns the spatial features of frozen teachers, of any architecture.

Source: Shang et al. 2024, Theia, arXiv:2407.20179, section 3 (`train_rvfm.py`): per teacher 0.9 times one minus the
cosine of each position plus 0.1 times smooth L1, on features that are standardised channel by channel.

Deviations: the translator to each teacher is one linear layer, instead of a small convolutional network, so that what
the teacher knows has to be in the student's features. Where the teacher's grid is finer, a token gives several
positions of it. The recipe is that of the zoo.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, UInt8
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.common.reference import resolve
from pvrbench.encoders.base import Encoder
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.identity import identify
from pvrbench.encoders.reference import spec_for
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.zoo.pretraining.backbone import build_backbone, class_token, patch_tokens
from pvrbench.encoders.zoo.pretraining.base import Batch, Objective, normalise, to_pixels
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec, PretrainingError
from pvrbench.encoders.zoo.pretraining.text import Vocabulary

COSINE_WEIGHT, SMOOTH_L1_WEIGHT = 0.9, 0.1
# Share of the mean squared token that is added as ridge where a linear map is fitted to a layer.
_RIDGE = 1e-3
_STD_FLOOR = 1e-6


class Translator(nn.Module):
    """A linear map from the student's tokens to the grid of one teacher.

    Args:
        width: channels of the student.
        channels: channels of the teacher.
        student_side: side of the student's grid.
        teacher_side: side of the teacher's grid.
    """

    def __init__(self, width: int, channels: int, student_side: int, teacher_side: int) -> None:
        super().__init__()
        self.student_side, self.teacher_side = student_side, teacher_side
        self.fold = max(1, math.ceil(teacher_side / student_side))
        self.map = nn.Linear(width, channels * self.fold**2)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B C S S"]:
        """The teacher's grid as the student has it."""
        side = self.student_side
        grid = self.map(tokens).transpose(1, 2).reshape(len(tokens), -1, side, side)
        grid = functional.pixel_shuffle(grid, self.fold)
        return functional.adaptive_avg_pool2d(grid, self.teacher_side)


class Teacher:
    """A frozen encoder.

    Args:
        spec: its row.
        encoder: the encoder.
        image_px: side in pixels of the frames that it will be given.

    Raises:
        EncoderFaultError: its features depend on more than the picture.
    """

    def __init__(self, spec: EncoderSpec, encoder: Encoder, image_px: int) -> None:
        self.spec, self.encoder = spec, encoder
        found = identify(encoder, image_px)
        self.digest = hashlib.sha256(f"{found.weights} {found.preprocessing} {found.code}".encode()).hexdigest()

    @torch.no_grad()
    def grid(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B C S S"]:
        """Its features, in float32 whatever the student computes in."""
        self.encoder = self.encoder.to(str(images.device))
        with torch.autocast(images.device.type, enabled=False):
            found = self.encoder.encode(images).grid
        return cast("Tensor", found).float()


class Distillation(Objective):
    """The student's tokens, translated, are to be the standardised features of each teacher.

    Args:
        spec: the row; option `teachers`, names or references of encoders joined by `|`.
        vocabulary: not read.

    Raises:
        PretrainingError: a teacher has no grid, is not there, or is smaller than the student.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        del vocabulary
        super().__init__(spec, build_backbone(spec.backbone))
        num_params = sum(part.numel() for part in self.backbone.parameters())
        # No modules: teachers are not trained, and not stored with the student.
        self._teachers = [load_teacher(name, num_params, spec.backbone.image_px) for name in teachers_of(spec)]
        self.translators = nn.ModuleList(
            Translator(spec.backbone.width, teacher.spec.feature_dim, spec.backbone.grid_side, teacher.spec.grid_side)
            for teacher in self._teachers
        )
        for index, teacher in enumerate(self._teachers):
            self.register_buffer(f"mean_{index}", torch.zeros(teacher.spec.feature_dim))
            self.register_buffer(f"std_{index}", torch.ones(teacher.spec.feature_dim))

    @property
    def network(self) -> VisionTransformer:
        """The student as what it is."""
        return cast("VisionTransformer", self.backbone)

    def sources(self) -> dict[str, str]:
        """What each teacher is: weights, preprocessing and code."""
        return {f"teacher {teacher.spec.name}": teacher.digest for teacher in self._teachers}

    def start_phase(self, phase: str, batches: Sequence[Batch]) -> None:
        """Measures mean and deviation of each teacher's channels."""
        del phase
        for index, teacher in enumerate(self._teachers):
            grids = torch.cat([teacher.grid(batch.first_frames) for batch in batches])
            self.get_buffer(f"mean_{index}").copy_(grids.mean(dim=(0, 2, 3)))
            self.get_buffer(f"std_{index}").copy_(grids.std(dim=(0, 2, 3)).clamp(min=_STD_FLOOR))

    def targets(self, batch: Batch) -> list[Float[Tensor, "B _ _ _"]]:
        """The standardised features of each teacher."""
        found: list[Tensor] = []
        for index, teacher in enumerate(self._teachers):
            mean, std = (self.get_buffer(f"{name}_{index}")[:, None, None] for name in ("mean", "std"))
            found.append((teacher.grid(batch.first_frames) - mean) / std)
        return found

    def layers(self, batch: Batch) -> list[Float[Tensor, "B N D"]]:
        """The student's patch tokens after each block; the last ones are normalised, as in its features."""
        pixels = normalise(to_pixels(batch.first_frames))
        tokens = torch.cat([class_token(self.network, len(pixels)), patch_tokens(self.network, pixels)], dim=1)
        found: list[Tensor] = []
        for block in self.network.blocks:
            tokens = block(tokens)
            found.append(tokens[:, 1:])
        found[-1] = cast("nn.Module", self.network.norm)(tokens)[:, 1:]
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean of the teachers' losses, and one minus the mean cosine to each."""
        tokens = self.layers(batch)[-1]
        return self._losses([translator(tokens).float() for translator in self.translators], self.targets(batch))

    @torch.no_grad()
    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """The losses of each teacher's mean features at each place."""
        parts = [self.targets(batch) for batch in train]
        means = [torch.cat(grids).mean(dim=0) for grids in zip(*parts, strict=True)]
        found: list[dict[str, Tensor]] = []
        for batch in held_out:
            targets = self.targets(batch)
            found.append(
                self._losses([mean.expand_as(grid) for mean, grid in zip(means, targets, strict=True)], targets)
            )
        return {name: float(torch.stack([losses[name] for losses in found]).mean()) for name in found[0]}

    def _losses(
        self, guesses: Sequence[Float[Tensor, "B _ _ _"]], targets: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        total = guesses[0].new_zeros(())
        for name, guess, target in zip(teachers_of(self.spec), guesses, targets, strict=True):
            apart = 1 - functional.cosine_similarity(guess, target, dim=1).mean()
            total = total + COSINE_WEIGHT * apart + SMOOTH_L1_WEIGHT * functional.smooth_l1_loss(guess, target)
            found[f"one_minus_cosine {name}"] = apart
        return {"loss": total / len(targets), **found}

    @torch.no_grad()
    def findings(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, object]:
        """What is kept of each teacher: held-out cosine and explained variance of a linear map from each block.

        A map is fitted to each block anew, so that blocks, and students, can be compared.
        """
        own = [[self.layers(batch) for batch in batches] for batches in (train, held_out)]
        theirs = [[self.targets(batch) for batch in batches] for batches in (train, held_out)]
        found: dict[str, object] = {}
        for index, name in enumerate(teachers_of(self.spec)):
            fold, side = self._translator(index).fold, self.spec.backbone.grid_side
            goals = [
                torch.cat([_folded(functional.adaptive_avg_pool2d(grids[index], side * fold), fold) for grids in part])
                for part in theirs
            ]
            rows: list[dict[str, float]] = []
            for depth in range(len(self.network.blocks)):
                tokens = [torch.cat([layers[depth].flatten(0, 1) for layers in part]) for part in own]
                rows.append(_fit(tokens[0], goals[0], tokens[1], goals[1], fold))
            digest = self._teachers[index].encoder.digest
            found[name] = {"digest": digest, **{key: [round(row[key], 4) for row in rows] for key in rows[0]}}
        return found

    def _translator(self, index: int) -> Translator:
        return cast("Translator", self.translators[index])


def _folded(grid: Float[Tensor, "B C S S"], fold: int) -> Float[Tensor, "M E"]:
    """The positions of a finer grid that belong to one token, as channels, a row for each token."""
    return functional.pixel_unshuffle(grid, fold).flatten(2).transpose(1, 2).flatten(0, 1)


def _fit(
    train: Float[Tensor, "N D"],
    goals: Float[Tensor, "N E"],
    test: Float[Tensor, "M D"],
    truth: Float[Tensor, "M E"],
    fold: int,
) -> dict[str, float]:
    """Ridge regression of the teacher's features on tokens, and how well it does on other clips."""
    middle, goal = train.mean(dim=0).double(), goals.mean(dim=0).double()
    centred = train.double() - middle
    scale = _RIDGE * centred.square().mean() * len(centred)
    products = centred.T @ centred + scale * torch.eye(centred.shape[1], dtype=torch.float64, device=centred.device)
    weights = cast("Tensor", torch.linalg.solve(products, centred.T @ (goals.double() - goal)))
    guess = (test.double() - middle) @ weights + goal
    left, total = (guess - truth).square().sum(), (truth.double() - goal).square().sum()
    split = (len(truth), -1, fold**2)
    cosine = functional.cosine_similarity(guess.reshape(split), truth.double().reshape(split), dim=1).mean()
    return {"cosine_by_layer": float(cosine), "variance_kept_by_layer": float(1 - left / total)}


def teachers_of(spec: ObjectiveSpec) -> tuple[str, ...]:
    """The names of the teachers."""
    return tuple(str(spec.options["teachers"]).split("|"))


def load_teacher(name: str, student_params: int, image_px: int) -> Teacher:
    """A teacher by its name or reference.

    Raises:
        PretrainingError: it gives no grid, or is smaller than the student.
    """
    spec = ENCODERS[name] if name in ENCODERS else spec_for(name, image_px)
    if spec.modality != "image" or "grid" not in spec.outputs:
        raise PretrainingError(
            f"Teacher {name!r} gives {', '.join(spec.outputs) or 'no features'} and no grid, and a student learns "
            "spatial features. Take an encoder with a grid; `pvrbench list encoders` shows what each gives."
        )
    if 0 < spec.num_params < student_params:
        raise PretrainingError(
            f"The student has {student_params:,} parameters and teacher {name!r} has {spec.num_params:,}. A student is "
            "to be no larger than its teacher: choose a smaller student, or another teacher."
        )
    make = resolve(spec.entry_point)
    if not callable(make):
        raise PretrainingError(f"Teacher {name!r} cannot be loaded: {spec.entry_point} is not callable.")
    return Teacher(spec, cast("Encoder", make(spec)), image_px)


def load_distillation(spec: ObjectiveSpec, vocabulary: Vocabulary) -> Distillation:
    """The objective of a row."""
    return Distillation(spec, vocabulary)
