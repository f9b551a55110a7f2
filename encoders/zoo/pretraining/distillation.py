"""Self-distillation without labels: DINO.

Source: Caron et al. 2021, DINO, arXiv:2104.14294, algorithm 1 (`main_dino.py`, `vision_transformer.py:DINOHead`).

Deviations: crops scaled from 224 and 96 to 112 and 48 pixels, and blur with them; fewer local crops, fewer prototypes
and a smaller head (the options), for a set of thousands of frames; a faster teacher (0.99 at first instead of 0.996) of
lower temperature (0.03 to 0.04, instead of 0.04 to 0.07), for thousands of updates; no stochastic depth; gradients are
clipped by their norm over all parameters instead of each parameter's; epochs of the schedules become shares of the
training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.zoo.pretraining.augmentation import ColourSettings, CropSettings, jitter_colours, random_crop
from pvrbench.encoders.zoo.pretraining.backbone import build_backbone, encode_pixels
from pvrbench.encoders.zoo.pretraining.base import Batch, Objective, normalise, to_pixels
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import Vocabulary

STUDENT_TEMPERATURE = 0.1
CENTRE_MOMENTUM = 0.9
_JITTER = ColourSettings(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)


class Head(nn.Module):
    """Three layers to a bottleneck of unit length, then prototypes of unit length.

    BatchNorm between the layers is an option of the published code (`use_bn_in_head`). Here it is needed: what all
    frames of a table have in common would else leave the outputs alike.

    Args:
        width: channels of the class token.
        spec: options `hidden`, `bottleneck`, `prototypes`.
    """

    def __init__(self, width: int, spec: ObjectiveSpec) -> None:
        super().__init__()
        hidden, bottleneck = int(spec.options["hidden"]), int(spec.options["bottleneck"])
        self.mlp = nn.Sequential(
            *(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.GELU()),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.GELU()),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(int(spec.options["prototypes"]), bottleneck))

    def forward(self, x: Float[Tensor, "B D"], *, is_frozen: bool = False) -> Float[Tensor, "B K"]:
        """Cosines with the prototypes, which `is_frozen` leaves without a gradient."""
        prototypes = self.prototypes.detach() if is_frozen else self.prototypes
        points = functional.normalize(self.mlp(x), dim=1)
        return functional.linear(points, functional.normalize(prototypes, dim=1).to(points.dtype))


def dino_loss(
    student: Sequence[Float[Tensor, "B K"]],
    teacher: Sequence[Float[Tensor, "B K"]],
    centre: Float[Tensor, "1 K"],
    teacher_temperature: float,
) -> Float[Tensor, ""]:
    """Mean cross entropy between the teacher on each global crop and the student on every other crop.

    Args:
        student: its outputs for all crops, the global ones first.
        teacher: its outputs for the global crops.
        centre: running mean of the teacher's outputs, subtracted from them.
        teacher_temperature: sharpens the teacher.
    """
    targets = [((output.float() - centre) / teacher_temperature).softmax(dim=1).detach() for output in teacher]
    logs = [(output.float() / STUDENT_TEMPERATURE).log_softmax(dim=1) for output in student]
    terms = [
        -(target * log).sum(dim=1).mean()
        for place, target in enumerate(targets)
        for other, log in enumerate(logs)
        if place != other
    ]
    return torch.stack(terms).mean()


class DINO(Objective):
    """A student predicts from any crop what a slow copy of it, the teacher, says of a global crop.

    The exported encoder is the teacher, as in the published evaluation.

    Args:
        spec: the row; options of the head, `local_crops`, `local_px`, `momentum`, `teacher_temperature` and
            `warm_teacher_temperature`, `temperature_warmup` and `frozen_prototypes` as shares of the training.
        vocabulary: not read.
    """

    centre: Tensor

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        del vocabulary
        network = build_backbone(spec.backbone)
        super().__init__(spec, network)
        self.network, self.head = network, Head(spec.backbone.width, spec)
        self.teacher_network: VisionTransformer = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(requires_grad=False)
        self.register_buffer("centre", torch.zeros(1, int(spec.options["prototypes"])))
        self._noted = torch.zeros(0)
        side, local = spec.backbone.image_px, int(spec.options["local_px"])
        whole = CropSettings(
            size_px=side, scale=(0.4, 1.0), flip=float(spec.options["flip"]), blur=1.0, blur_sigma=(0.1, 1.0)
        )
        self._global = ((whole, _JITTER), (replace(whole, blur=0.1), replace(_JITTER, solarise=0.2)))
        self._local = (replace(whole, size_px=local, scale=(0.05, 0.4), blur=0.5), _JITTER)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The cross entropy; with the teacher's entropy, of single outputs and of their mean.

        A collapse to one output for everything shows as an entropy of the mean that is as low as that of single
        outputs, one to the uniform output as a loss at the logarithm of the number of prototypes.
        """
        pixels = to_pixels(batch.first_frames)
        crops = [self._crop(pixels, *settings, batch) for settings in self._global]
        num_local = int(self.spec.options["local_crops"])
        small = self._crop(pixels.repeat(num_local, 1, 1, 1), *self._local, batch)
        with torch.no_grad():
            seen = torch.cat(crops)
            teacher: Tensor = self.teacher_head(encode_pixels(self.teacher_network, seen)[:, 0])
        tokens = torch.cat([encode_pixels(self.network, views)[:, 0] for views in (seen, small)])
        is_frozen = batch.progress < float(self.spec.options["frozen_prototypes"])
        student: Tensor = self.head(tokens, is_frozen=is_frozen)
        temperature = self.teacher_temperature(batch.progress)
        found = dino_loss(student.chunk(2 + num_local), teacher.chunk(2), self.centre, temperature)
        self._noted = teacher.detach().float().mean(dim=0, keepdim=True)
        outputs = ((teacher.float() - self.centre) / temperature).softmax(dim=1)
        return {
            "loss": found,
            "teacher_entropy": _entropy(outputs).mean().detach(),
            "mean_entropy": _entropy(outputs.mean(dim=0, keepdim=True)).mean().detach(),
        }

    @staticmethod
    def _crop(
        pixels: Float[Tensor, "B 3 H W"], crop: CropSettings, colours: ColourSettings, batch: Batch
    ) -> Float[Tensor, "B 3 S S"]:
        return normalise(jitter_colours(random_crop(pixels, crop, batch.generator), colours, batch.generator))

    def teacher_temperature(self, progress: float) -> float:
        """Rises linearly during the warm-up."""
        low, high = (float(self.spec.options[name]) for name in ("warm_teacher_temperature", "teacher_temperature"))
        return low + (high - low) * min(1.0, progress / float(self.spec.options["temperature_warmup"]))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Moves the teacher towards the student, ever more slowly, and the centre towards the teacher's outputs."""
        momentum = 1 - (1 - float(self.spec.options["momentum"])) * (1 + math.cos(math.pi * progress)) / 2
        slow = [*self.teacher_network.parameters(), *self.teacher_head.parameters()]
        fast = [*self.network.parameters(), *self.head.parameters()]
        for teacher, student in zip(slow, fast, strict=True):
            teacher.lerp_(student, 1 - momentum)
        self.centre.lerp_(self._noted, 1 - CENTRE_MOMENTUM)

    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """The entropy of the uniform output."""
        del train, held_out
        return {"loss": math.log(int(self.spec.options["prototypes"]))}

    def export(self) -> dict[str, Tensor]:
        """The teacher."""
        return {name: value.detach().clone() for name, value in self.teacher_network.state_dict().items()}


def _entropy(outputs: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    return -torch.xlogy(outputs, outputs).sum(dim=1)


def load_dino(spec: ObjectiveSpec, vocabulary: Vocabulary) -> DINO:
    """The objective of a row."""
    return DINO(spec, vocabulary)
