"""What is known of an objective without running it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Option = str | int | float | bool
Sampling = Literal["frames", "quintets"]


class PretrainingError(ValueError):
    """A pretraining cannot start or go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """The vision transformer that all objectives but the diffusion model train.

    Attributes:
        width: channels.
        depth: blocks.
        num_heads: attention heads of a block.
        patch_px: side of a patch.
        image_px: side of the input.
    """

    width: int = 192
    depth: int = 6
    num_heads: int = 3
    patch_px: int = 16
    image_px: int = 112

    @property
    def grid_side(self) -> int:
        """Patches along a side."""
        return self.image_px // self.patch_px

    @property
    def architecture(self) -> dict[str, Option]:
        """The arguments with which timm builds the network; also options of a trained encoder's row."""
        return {
            "model": "vit_tiny_patch16_224",
            "img_size": self.image_px,
            "patch_size": self.patch_px,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.num_heads,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSpec:
    """One stretch of the training, with a learning-rate schedule of its own.

    Attributes:
        name: what is trained.
        share: share of the budget.
        lr: peak learning rate.
    """

    name: str
    share: float
    lr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpec:
    """How an objective is optimised: AdamW, linear warm-up, then half a cosine, in each phase.

    Attributes:
        phases: stretches of the training; their shares add up to 1.
        num_samples: budget, counted in frames that are drawn from the set, whatever is made of a frame.
        batch_size: frames, or groups of frames of one clip, of one update.
        warmup: share of a phase in which the learning rate rises linearly.
        min_lr: share of the peak that the learning rate falls to.
        weight_decay: decay of matrices; biases, norms, tokens and position embeddings have none.
        final_weight_decay: decay at the end, reached along half a cosine; None keeps it constant.
        betas: of AdamW.
        clip_norm: norm that gradients are clipped to; 0 does not clip.
        seed: draws initial weights, order, masks, augmentation and noise.
        held_out: share of the clips on which the loss is measured and nothing is trained.
        checkpoint_every: updates between checkpoints.
        log_every: updates between lines of the log.
        eval_every: updates between measurements of the held-out loss; 0 measures it at the end alone.
        eval_batches: batches of one such measurement.
    """

    phases: tuple[PhaseSpec, ...]
    num_samples: int = 100_000
    batch_size: int = 128
    warmup: float = 0.1
    min_lr: float = 0.01
    weight_decay: float = 0.05
    final_weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 0.0
    seed: int = 0
    held_out: float = 0.1
    checkpoint_every: int = 200
    log_every: int = 10
    eval_every: int = 200
    eval_batches: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSpec:
    """One row of the catalog of objectives.

    Attributes:
        name: catalog name.
        entry_point: `module:function` that takes the row and a vocabulary and returns an `Objective`.
        description: what is learnt, in the field's words.
        paper: where the method is described.
        recipe: how it is optimised.
        needs_text: whether it reads the captions of clips.
        sampling: `frames` draws single frames, `quintets` five frames of one clip, as R3M does.
        num_views: pictures that the network is shown of one frame.
        outputs: what the trained encoder gives.
        encoder: `module:function` that loads the trained encoder.
        num_registers: tokens of the trained encoder besides class token and patches.
        backbone: the network.
        options: hyper-parameters of the objective.
    """

    name: str
    entry_point: str
    description: str
    paper: str
    recipe: RecipeSpec
    needs_text: bool = False
    sampling: Sampling = "frames"
    num_views: int = 1
    outputs: tuple[Literal["class_token", "grid"], ...] = ("class_token", "grid")
    encoder: str = "pvrbench.encoders.families.timm_backbone:load"
    num_registers: int = 0
    backbone: BackboneSpec = field(default_factory=BackboneSpec)
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])

    @property
    def frames_per_item(self) -> int:
        """Frames that one item of a batch takes from the set."""
        return 5 if self.sampling == "quintets" else 1

    @property
    def num_steps(self) -> int:
        """Updates that the budget allows; at least one."""
        return max(1, self.recipe.num_samples // (self.recipe.batch_size * self.frames_per_item))

    def phase_steps(self) -> tuple[int, ...]:
        """Updates of each phase; they add up to `num_steps`."""
        ends: list[int] = [0]
        done = 0.0
        for phase in self.recipe.phases:
            done += phase.share
            ends.append(round(done * self.num_steps))
        return tuple(after - before for before, after in pairwise(ends))
