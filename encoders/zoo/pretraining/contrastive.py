"""Contrastive learning: SimCLR tells pictures apart, CLIP finds each picture's caption.

Source: Chen et al. 2020, SimCLR, arXiv:2002.05709 (equation 1, appendix A); Radford et al. 2021, CLIP,
arXiv:2103.00020 (figure 3, section 2.4).

Deviations. SimCLR: AdamW instead of LARS, since batches are small; colours disturbed half as much and no blur, which is
the paper's recipe for small pictures (appendix B.9); crops of at least 0.2 instead of 0.08 of the area, in which a
table still shows something, and a temperature of 0.2, between the paper's 0.1 and 0.5. CLIP: the text transformer is
small and learnt over the captions' own words; clips of one task share their caption, so other pictures with the same
caption are no negatives: they are left out of the candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.zoo.pretraining.augmentation import ColourSettings, CropSettings, jitter_colours, random_crop
from pvrbench.encoders.zoo.pretraining.backbone import build_backbone, encode_pixels
from pvrbench.encoders.zoo.pretraining.base import Batch, Objective, normalise, to_pixels
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import TextTransformer, Vocabulary

_MAX_LOGIT_SCALE = 100.0


def nt_xent(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, ""]:
    """Cross entropy of finding a picture's other view among all other views of the batch.

    Args:
        first: one view of each picture, of any length.
        second: the other view.
        temperature: divides the cosines.
    """
    views = functional.normalize(torch.cat([first, second]).float(), dim=1)
    logits = (views @ views.T / temperature).fill_diagonal_(-math.inf)
    count = len(first)
    partner = torch.arange(2 * count, device=logits.device).roll(count)
    return functional.cross_entropy(logits, partner)


def caption_contrast(
    images: Float[Tensor, "B D"], texts: Float[Tensor, "B D"], captions: Int[Tensor, " B"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Mean cross entropy of finding the caption of each picture and the picture of each caption.

    Args:
        images: embedded pictures, of any length.
        texts: embedded captions.
        captions: equal captions have equal numbers; they are no candidates for one another.
        scale: multiplies the cosines.
    """
    images, texts = functional.normalize(images.float(), dim=1), functional.normalize(texts.float(), dim=1)
    logits = (scale * images @ texts.T).masked_fill(_false_negatives(captions), -math.inf)
    partner = torch.arange(len(images), device=logits.device)
    return (functional.cross_entropy(logits, partner) + functional.cross_entropy(logits.T, partner)) / 2


def _false_negatives(captions: Int[Tensor, " B"]) -> Tensor:
    return (captions[:, None] == captions).fill_diagonal_(0)


class SimCLR(Objective):
    """Two disturbed views of a frame are to be close, those of different frames far apart.

    Args:
        spec: the row; options `temperature`, `projection`, `hidden`, `crop_scale`, `strength`, `blur`, `flip`.
        vocabulary: not read.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        del vocabulary
        network = build_backbone(spec.backbone)
        super().__init__(spec, network)
        self.network = network
        hidden = int(spec.options["hidden"])
        self.project = nn.Sequential(
            nn.Linear(spec.backbone.width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, int(spec.options["projection"]), bias=False),
            nn.BatchNorm1d(int(spec.options["projection"])),
        )
        strength = float(spec.options["strength"])
        self._colours = ColourSettings(
            brightness=0.8 * strength, contrast=0.8 * strength, saturation=0.8 * strength, hue=0.2 * strength
        )
        self._crop = CropSettings(
            size_px=spec.backbone.image_px,
            scale=(float(spec.options["crop_scale"]), 1.0),
            flip=float(spec.options["flip"]),
            blur=float(spec.options["blur"]),
            blur_sigma=(0.1, 1.0),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """NT-Xent of two views."""
        pixels = to_pixels(batch.first_frames)
        views = random_crop(torch.cat([pixels, pixels]), self._crop, batch.generator)
        views = normalise(jitter_colours(views, self._colours, batch.generator))
        embedded: Tensor = self.project(encode_pixels(self.network, views)[:, 0])
        first, second = embedded.chunk(2)
        return {"loss": nt_xent(first, second, float(self.spec.options["temperature"]))}

    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """The logarithm of the number of candidates."""
        del train
        return {"loss": math.log(2 * len(held_out[0].images) - 1)}


class CLIP(Objective):
    """A frame and the caption of its clip are to be close.

    Args:
        spec: the row; options `projection`, `text_width`, `text_depth`, `temperature` at the start, `crop_scale`.
        vocabulary: the words.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        network = build_backbone(spec.backbone)
        super().__init__(spec, network)
        self.network = network
        width, projection = int(spec.options["text_width"]), int(spec.options["projection"])
        self.text = TextTransformer(len(vocabulary), width, int(spec.options["text_depth"]), is_causal=True)
        self.project_image = nn.Linear(spec.backbone.width, projection, bias=False)
        self.project_text = nn.Linear(width, projection, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(float(spec.options["temperature"]))))
        low = float(spec.options["crop_scale"])
        self._crop = CropSettings(size_px=spec.backbone.image_px, scale=(low, 1.0), max_ratio=1.0, flip=0.0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The symmetric cross entropy; each caption of the batch is encoded once."""
        pixels = normalise(random_crop(to_pixels(batch.first_frames), self._crop, batch.generator))
        images: Tensor = self.project_image(encode_pixels(self.network, pixels)[:, 0])
        place = cast("Tensor", batch.caption_index.unique(return_inverse=True)[1])
        first = torch.stack([(place == number).int().argmax() for number in range(int(place.max()) + 1)])
        texts: Tensor = self.project_text(self.text.last(batch.tokens[first]))[place]
        scale = self.log_scale.exp().clamp(max=_MAX_LOGIT_SCALE)
        found = caption_contrast(images, texts, batch.caption_index, scale)
        return {"loss": found, "temperature": 1 / scale.detach()}

    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """The mean logarithm of the number of candidates, equal captions left out."""
        del train
        counts = [(~_false_negatives(batch.caption_index)).sum(dim=1).float() for batch in held_out]
        return {"loss": float(torch.cat(counts).log().mean())}


def load_simclr(spec: ObjectiveSpec, vocabulary: Vocabulary) -> SimCLR:
    """The objective of a row."""
    return SimCLR(spec, vocabulary)


def load_clip(spec: ObjectiveSpec, vocabulary: Vocabulary) -> CLIP:
    """The objective of a row."""
    return CLIP(spec, vocabulary)
