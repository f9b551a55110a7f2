"""The contract of an objective: a network, a loss on a batch, and the weights that are kept of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor, nn

from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec, PretrainingError

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class PretrainingFrames:
    """Frames of clips, one after another.

    Attributes:
        images: upright RGB in 0..255; may be a memory map.
        clip_starts: index of each clip's first frame.
        clip_lengths: frames of each clip.
        captions: what is done in each clip, in words; empty where nobody said.
        object_pixels: where K objects are seen, as shares of width and height from the top left; NaN where unseen.
        digest: content hash of the set.
    """

    images: UInt8[Array, "N H W 3"]
    clip_starts: Int[Array, " C"]
    clip_lengths: Int[Array, " C"]
    captions: tuple[str, ...]
    object_pixels: Float32[Array, "M K 2"]
    digest: str


@dataclass(slots=True)
class Batch:
    """What one update sees.

    Attributes:
        images: F frames of one clip for each item, raw.
        tokens: the caption of each item as word numbers, padded with 0.
        caption_index: items with equal captions have equal numbers.
        generator: source of all randomness of this update, on the CPU.
        progress: share of the phase that is done, for schedules.
        phase: name of the phase.
    """

    images: UInt8[Tensor, "B F H W 3"]
    tokens: Int[Tensor, "B T"]
    caption_index: Int[Tensor, " B"]
    generator: torch.Generator
    progress: float
    phase: str

    @property
    def first_frames(self) -> UInt8[Tensor, "B H W 3"]:
        """The first frame of each item."""
        return self.images[:, 0]


class Objective(nn.Module, ABC):
    """A network together with the loss that trains it.

    Args:
        spec: the catalog row.
        backbone: the network whose features are wanted.
    """

    def __init__(self, spec: ObjectiveSpec, backbone: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch as scalars; `loss` is what is minimised. Changes nothing but `after_step`'s notes."""

    def after_step(self, progress: float) -> None:
        """What happens after an update, for instance that of a moving average."""
        del progress

    def start_phase(self, phase: str, batches: Sequence[Batch]) -> None:
        """What is measured or frozen before the first update of a phase.

        Args:
            phase: its name.
            batches: some training batches.
        """
        del phase, batches

    @abstractmethod
    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """The held-out losses, named as in `loss`, of the best answers that do not look at the image.

        Args:
            train: training batches, from which such an answer may take averages.
            held_out: the batches on which the loss is measured.
        """

    def findings(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, object]:
        """What else the card says of the trained network, as JSON; by default nothing.

        Args:
            train: training batches.
            held_out: the batches on which the loss is measured.
        """
        del train, held_out
        return {}

    def sources(self) -> dict[str, str]:
        """Content hashes of what is learnt from besides the frames, by name; by default nothing."""
        return {}

    def export(self) -> dict[str, Tensor]:
        """The weights of the encoder, named as in the network that loads them."""
        return {name: value.detach().clone() for name, value in self.backbone.state_dict().items()}

    def picture(self, batch: Batch) -> UInt8[Array, "H W 3"] | None:
        """A picture of what was learnt, for people; None where the objective makes no images."""
        del batch
        return None


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters for an optimiser in two groups: matrices, which decay, and biases, norms and tokens, which do not."""
    kept: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_bare = parameter.ndim < 2 or name.endswith(("token", "tokens", "pos_embed", "position"))
            kept[is_bare].append(parameter)
    return [{"params": kept[0], "weight_decay": weight_decay}, {"params": kept[1], "weight_decay": 0.0}]


def to_pixels(images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Raw frames as numbers in 0..1, channels first."""
    return images.permute(0, 3, 1, 2).float() / 255


def normalise(pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Subtracts ImageNet's mean and divides by its deviation."""
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


def check_frames(frames: PretrainingFrames, spec: ObjectiveSpec) -> None:
    """Refuses frames that an objective cannot be trained on.

    Raises:
        PretrainingError: there are none, or of another size; clips are too few, too short or lack captions.
    """
    side = spec.backbone.image_px
    if len(frames.images) == 0 or len(frames.clip_starts) == 0:
        raise PretrainingError("The frame set is empty. Render one first; see docs/pretraining.md.")
    if frames.images.dtype != np.uint8 or frames.images.shape[1:] != (side, side, 3):
        raise PretrainingError(
            f"The frames are {frames.images.dtype} of shape {tuple(frames.images.shape[1:])}, expected uint8 of "
            f"({side}, {side}, 3). Render them at {side} pixels."
        )
    _check_clips(frames, spec)
    if spec.needs_text:
        _check_captions(frames.captions, spec.name)


def _check_clips(frames: PretrainingFrames, spec: ObjectiveSpec) -> None:
    if len(frames.object_pixels) != len(frames.images):
        raise PretrainingError(
            f"The frame set has {len(frames.images)} frames and object positions for {len(frames.object_pixels)}. "
            "It is damaged; render it again."
        )
    ends = frames.clip_starts + frames.clip_lengths
    if int(ends.max()) > len(frames.images) or int(frames.clip_lengths.min()) < 1:
        raise PretrainingError(
            f"The clips reach to frame {int(ends.max())} of {len(frames.images)}. The frame set is damaged; "
            "render it again."
        )
    if len(frames.clip_starts) < 2:
        raise PretrainingError("The frame set has one clip, and one is held out. Render at least two.")
    if spec.sampling == "quintets" and int(frames.clip_lengths.min()) < 3:
        raise PretrainingError(
            f"Objective {spec.name!r} draws frames in their order from each clip, and the shortest clip has "
            f"{int(frames.clip_lengths.min())}. Render clips of at least 3 frames."
        )


def _check_captions(captions: Sequence[str], name: str) -> None:
    missing = [index for index, caption in enumerate(captions) if not caption.strip()]
    if missing:
        raise PretrainingError(
            f"Objective {name!r} reads captions, and {len(missing)} of {len(captions)} clips have none (the first is "
            f"clip {missing[0]}). Give every clip an instruction, or choose an objective without text."
        )
    if len(set(captions)) < 2:
        raise PretrainingError(
            f"Objective {name!r} tells captions apart, and all clips have the same ({captions[0]!r}). "
            "Render clips of several tasks."
        )


def settings_of(spec: ObjectiveSpec) -> Mapping[str, object]:
    """Everything in a row that determines the trained weights, by name."""
    recipe, backbone = spec.recipe, spec.backbone
    values: dict[str, object] = {"objective": spec.name}
    reporting = {"log_every", "checkpoint_every", "eval_every", "eval_batches"}
    values |= {key: getattr(recipe, key) for key in recipe.__slots__ if key not in {"phases", *reporting}}
    values["phases"] = [[phase.name, phase.share, phase.lr] for phase in recipe.phases]
    values["betas"] = list(recipe.betas)
    values |= {f"backbone.{key}": getattr(backbone, key) for key in backbone.__slots__}
    return values | {f"options.{key}": value for key, value in sorted(spec.options.items())}
