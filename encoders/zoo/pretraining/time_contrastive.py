"""R3M: what is near in time is near in features, progress fits the instruction, features are sparse.

Source: Nair et al. 2022, R3M, arXiv:2203.12601, equations 1 and 2 (`r3m/trainer.py`, `r3m/models/models_r3m.py`,
`r3m/models_language.py`, `r3m/utils/data_loaders.py`).

Deviations: a vision transformer's class token instead of a ResNet's mean; the text encoder is small and learnt instead
of a frozen DistilBERT; a narrower reward network; AdamW. As in the published code, negatives are drawn from the whole
batch, so that one may be of the same clip or have the same caption.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pvrbench.encoders.zoo.pretraining.augmentation import CropSettings, random_crop
from pvrbench.encoders.zoo.pretraining.backbone import build_backbone, encode_pixels
from pvrbench.encoders.zoo.pretraining.base import Batch, Objective, normalise, to_pixels
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import TextTransformer, Vocabulary

NUM_NEGATIVES = 3
_EPSILON = 1e-8


def similarity(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Minus the Euclidean distance; at zero its gradient is zero."""
    squared = (first - second).square().sum(dim=-1)
    is_same = squared == 0
    return -torch.where(is_same, 0.0, squared.masked_fill(is_same, 1.0).sqrt())


def choice_loss(positive: Float[Tensor, " B"], others: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
    """Cross entropy of choosing the positive among all, with the small constants of the published code."""
    chosen = positive.exp()
    return -torch.log(_EPSILON + chosen / (_EPSILON + chosen + others.exp().sum(dim=-1)))


def time_loss(
    ordered: Sequence[Float[Tensor, "B D"]], shuffles: Sequence[tuple[Int[Tensor, " B"], Int[Tensor, " B"]]]
) -> Float[Tensor, ""]:
    """The middle frame is nearer to each end than the other end is, and than frames of other clips are.

    Args:
        ordered: three frames of each clip in their order.
        shuffles: for each negative, where the first and where the last frame of another clip is taken from.
    """
    before, middle, after = ordered
    across, late, early = similarity(after, before), similarity(after, middle), similarity(middle, before)
    from_before = torch.stack([similarity(before, before[first]) for first, _ in shuffles], dim=1)
    from_after = torch.stack([similarity(after, after[last]) for _, last in shuffles], dim=1)
    backwards = choice_loss(late, torch.cat([across[:, None], from_after], dim=1))
    forwards = choice_loss(early, torch.cat([across[:, None], from_before], dim=1))
    return ((backwards + forwards) / 2).mean()


class R3M(Objective):
    """Time contrast, alignment of progress with language, sparsity.

    Args:
        spec: the row; options `text_width`, `text_depth`, `hidden`, `crop_scale`, and the weights `time_weight`,
            `language_weight`, `l1_weight`, `l2_weight`.
        vocabulary: the words.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        network = build_backbone(spec.backbone)
        super().__init__(spec, network)
        self.network = network
        width, hidden = int(spec.options["text_width"]), int(spec.options["hidden"])
        self.text = TextTransformer(len(vocabulary), width, int(spec.options["text_depth"]))
        layers: list[nn.Module] = [nn.Linear(2 * spec.backbone.width + width, hidden), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Linear(hidden, hidden), nn.ReLU()]
        self.reward = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The four terms and their weighted sum."""
        tokens = self._encode(batch)
        first, goal, *ordered = tokens.unbind(dim=1)
        count, device, generator = len(tokens), tokens.device, batch.generator
        shuffles = torch.stack([torch.randperm(count, generator=generator) for _ in range(5 * NUM_NEGATIVES)])
        drawn = list(shuffles.to(device).reshape(5, NUM_NEGATIVES, count))
        in_time = time_loss(ordered, list(zip(drawn[0], drawn[1], strict=True)))
        words = self.text.mean(batch.tokens).float()
        language = self._language_loss(first, (goal, *ordered), words, drawn[2:])
        flat = tokens.flatten(0, 1)
        parts: dict[str, Tensor] = {
            "time": in_time,
            "language": language,
            "l1": flat.abs().sum(dim=1).mean(),
            "l2": flat.square().sum(dim=1).sqrt().mean(),
        }
        total = torch.stack([float(self.spec.options[f"{name}_weight"]) * part for name, part in parts.items()]).sum()
        return {"loss": total, **parts}

    def _encode(self, batch: Batch) -> Float[Tensor, "B 5 D"]:
        """Class tokens of the five frames, all cropped alike."""
        count, frames = batch.images.shape[:2]
        side = self.spec.backbone.image_px
        pixels = to_pixels(batch.images.flatten(0, 1))
        low = float(self.spec.options["crop_scale"])
        if low < 1.0:
            crop = CropSettings(size_px=side, scale=(low, 1.0), flip=0.0)
            pixels = random_crop(pixels, crop, batch.generator, alike=frames)
        return encode_pixels(self.network, normalise(pixels))[:, 0].float().reshape(count, frames, -1)

    def _language_loss(
        self,
        first: Float[Tensor, "B D"],
        later: Sequence[Float[Tensor, "B D"]],
        words: Float[Tensor, "B E"],
        shuffles: Sequence[Int[Tensor, "M B"]],
    ) -> Float[Tensor, ""]:
        """The reward of a later frame beats that of an earlier one, and those of other clips under this caption.

        Args:
            first: the early frame.
            later: the late frame and the three ordered ones.
            words: the captions.
            shuffles: for each of the three comparisons, where negatives are taken from.
        """
        goal, before, middle, after = later
        terms: list[Tensor] = []
        for good, poor, negatives in zip((goal, middle, after), (first, before, middle), shuffles, strict=True):
            pairs = [(first, good), (first, poor), *((first[row], good[row]) for row in negatives)]
            scores = self._reward(pairs, words)
            terms.append(choice_loss(scores[:, 0], scores[:, 1:]))
        return torch.stack(terms).mean()

    def _reward(
        self, pairs: Sequence[tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]], words: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B M"]:
        rows = torch.stack([torch.cat([start, end, words], dim=1) for start, end in pairs], dim=1)
        return self.reward(rows).squeeze(-1).float()

    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """Equal features and rewards: the logarithm of the number of candidates in both contrasts."""
        del train, held_out
        candidates = math.log(2 + NUM_NEGATIVES)
        weights = (float(self.spec.options[f"{name}_weight"]) for name in ("time", "language"))
        return {"loss": sum(weights) * candidates, "time": candidates, "language": candidates}


def load_r3m(spec: ObjectiveSpec, vocabulary: Vocabulary) -> R3M:
    """The objective of a row."""
    return R3M(spec, vocabulary)
