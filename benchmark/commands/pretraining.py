"""Body of `pvrbench pretrain`: frames in, a small encoder with its card and figures out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pvrbench.benchmark.catalog import unknown
from pvrbench.benchmark.commands.verb import UserPath, Verb, VerbSettings
from pvrbench.benchmark.engine.forecast import duration
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec, Option
from pvrbench.envs.pictures.frame_set import read_frame_set

if TYPE_CHECKING:
    from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames

PRETRAIN_HELP = """\
  pvrbench pretrain objective=mae frames=FOLDER output=FOLDER
  pvrbench pretrain objective=clip frames=FOLDER output=FOLDER num_samples=100000 seed=1 threads=2 device=cuda
  pvrbench pretrain objective=simclr frames=FOLDER output=FOLDER batch_size=64 lr_factor=0.5 options.temperature=0.2

A training that was interrupted goes on in `output` when the same command is given again. docs/pretraining.md says what
each objective does."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0)]
# Settings of the recipe that a user may change; left out, they are the recipe's own.
_RECIPE = (
    *("num_samples", "batch_size", "seed", "weight_decay", "warmup", "clip_norm", "held_out"),
    *("checkpoint_every", "log_every", "eval_every"),
)


class TrainingSettings(VerbSettings):
    """Settings of the verbs that train an encoder. Those of the recipe are its own where they are left out."""

    frames: UserPath
    """Folder of a frame set."""
    output: UserPath
    """Folder for weights.safetensors, card.json, loss.png and picture.png."""
    num_samples: Count | None = None
    """Budget in frames drawn from the set, the same for every objective; of the recipe."""
    batch_size: Count | None = None
    """Frames, or groups of frames of one clip, of one update; of the recipe."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Draws initial weights, order, masks, augmentation and noise; of the recipe."""
    lr_factor: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies the learning rates of the recipe."""
    weight_decay: Share | None = None
    """Decay of matrices; of the recipe."""
    warmup: Share | None = None
    """Share of a phase in which the learning rate rises; of the recipe."""
    clip_norm: Share | None = None
    """Norm that gradients are clipped to, 0 does not clip; of the recipe."""
    held_out: Annotated[float, Field(gt=0)] | None = None
    """Share of the clips on which nothing is trained; of the recipe."""
    checkpoint_every: Count | None = None
    """Updates between checkpoints; of the recipe."""
    log_every: Count | None = None
    """Updates between lines of the log; of the recipe."""
    eval_every: Annotated[int, Field(ge=0)] | None = None
    """Updates between measurements of the held-out loss, 0 measures it at the end alone; of the recipe."""
    threads: Count | None = None
    """Processor threads; as many as torch takes where it is left out."""
    device: str = "cpu"
    """`cpu` or `cuda`."""

    def with_recipe(self, spec: ObjectiveSpec) -> ObjectiveSpec:
        """A row with its recipe as asked."""
        changes: dict[str, Any] = {name: getattr(self, name) for name in _RECIPE if getattr(self, name) is not None}
        phases = tuple(replace(phase, lr=phase.lr * self.lr_factor) for phase in spec.recipe.phases)
        return replace(spec, recipe=replace(spec.recipe, phases=phases, **changes))


class PretrainSettings(TrainingSettings):
    """Settings of `pvrbench pretrain`. Those of the recipe are the objective's own where they are left out."""

    objective: str
    """What is trained: mae, simclr, dino, clip, r3m, vcond or dift."""
    options: Mapping[str, Option] = {}
    """Hyper-parameters of the objective, as options.NAME."""

    def spec(self) -> ObjectiveSpec:
        """The row of the objective, its recipe and options as asked.

        Raises:
            ValueError: the objective or an option is unknown, or an option is of the wrong kind.
        """
        if self.objective not in OBJECTIVES:
            raise ValueError(unknown("objective", self.objective, OBJECTIVES, "pvrbench pretrain --help"))
        spec = OBJECTIVES[self.objective]
        options = {**spec.options, **{name: _option(spec, name, value) for name, value in self.options.items()}}
        return replace(self.with_recipe(spec), options=options)


def _option(spec: ObjectiveSpec, name: str, value: Option) -> Option:
    if name not in spec.options:
        known = [f"options.{option}" for option in spec.options]
        raise ValueError(unknown("setting", f"options.{name}", known, "pvrbench pretrain --help"))
    kind = type(spec.options[name])
    if kind is str:
        return str(value)
    if isinstance(value, str) or (kind is int and not isinstance(value, int)):
        raise ValueError(f"options.{name}={value} is not a number; expected {kind.__name__}.")
    return kind(value)


def pretrain_command(settings: PretrainSettings) -> int:
    """Trains, then writes weights, card and figures."""
    return train_and_write(settings.spec(), settings)


def train_and_write(spec: ObjectiveSpec, settings: TrainingSettings) -> int:
    """Trains a row on a frame set, then writes weights, card and figures; returns the exit status."""
    frames = read_frames(settings.frames)
    # cuBLAS reads this when it is first used; without it sums on a GPU have no fixed settings.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from pvrbench.benchmark.commands.pretraining_card import write_result
    from pvrbench.encoders.zoo.pretraining.training import pretrain

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={settings.device} is asked, and torch finds no GPU here. Leave it out for the processor."
        )

    def show(done: int, total: int, loss: float) -> None:
        sys.stderr.write(f"\rupdate {done} of {total}, loss {loss:.4f} ")

    trained = pretrain(spec, frames, settings.output, device=settings.device, on_progress=show)
    sys.stderr.write("\n")
    card = write_result(spec, trained, frames, settings.output, settings.device)
    final, trivial = card["held_out"]["loss"], card["trivial"]["loss"]
    verdict = "below" if final < trivial else "NOT below"
    sys.stdout.write(
        f"{settings.output}: held-out loss {final:.4f}, {verdict} the trivial {trivial:.4f}; "
        f"{trained.frames_seen} frames in {duration(trained.wall_clock_s)}, {trained.flops / 1e12:.1f} TFLOP\n"
    )
    return 0


def read_frames(folder: Path) -> PretrainingFrames:
    """A frame set as the objectives take it.

    Raises:
        FrameSetError: the folder is not a whole frame set.
    """
    from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames

    found = read_frame_set(folder)
    spans = np.asarray([(clip.start, clip.length) for clip in found.clips], np.int64)
    captions = tuple(clip.instruction for clip in found.clips)
    return PretrainingFrames(
        found.images, spans[:, 0], spans[:, 1], captions, np.asarray(found.object_pixels, np.float32), found.digest
    )


PRETRAIN = Verb(
    name="pretrain",
    summary="Pretrain a small encoder on rendered frames.",
    settings=PretrainSettings,
    body=pretrain_command,
    details=PRETRAIN_HELP,
)
