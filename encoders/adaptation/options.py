"""The options of the adaptations that train, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float32", "bfloat16"]
Shift = Annotated[int, Field(ge=0, le=64)]


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of an adaptation that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """How the trained part of an encoder is optimised; readout and head keep the settings of the run.

    Attributes:
        learning_rate: peak learning rate of the trained part; 0 leaves it as it is.
        weight_decay: decoupled, of the trained part alone.
        warmup: share of the updates in which the learning rate rises linearly from 0; then the schedule of the run.
        precision: of the trained network's products in training, by torch's autocast; the policy acts in float32.
        shift_px: training frames are shifted at random by up to so many pixels of the encoder's input, in each update
            anew; 0 for none.
    """

    learning_rate: NonNegativeFloat = 1e-4
    weight_decay: NonNegativeFloat = 1e-4
    warmup: Share = 0.1
    precision: Precision = "float32"
    shift_px: Shift = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraOptions(TuningOptions):
    """Low-rank updates.

    Attributes:
        rank: of each update.
        alpha: the update is scaled by alpha / rank.
        targets: `attention` for its projections, `linear` for all linear layers, `all` for convolutions too.
    """

    learning_rate: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    rank: PositiveInt = 8
    alpha: float = 16.0
    targets: Literal["attention", "linear", "all"] = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterOptions(TuningOptions):
    """Bottleneck adapters.

    Attributes:
        width: channels of the bottleneck.
    """

    learning_rate: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    width: PositiveInt = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksOptions:
    """The last blocks of a transformer. What comes before them is computed once, so frames cannot be shifted.

    Attributes:
        learning_rate: see `TuningOptions`.
        weight_decay: see `TuningOptions`.
        warmup: see `TuningOptions`.
        precision: see `TuningOptions`.
        num_blocks: how many are trained, with the final normalisation.
    """

    learning_rate: NonNegativeFloat = 1e-4
    weight_decay: NonNegativeFloat = 1e-4
    warmup: Share = 0.1
    precision: Precision = "float32"
    num_blocks: PositiveInt = 2
