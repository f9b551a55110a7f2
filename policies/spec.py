"""What is known of a head without building it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """One row of the head catalog.

    Attributes:
        name: catalog name.
        entry_point: `module:function` that builds the head's network.
        description: one line for `pvrbench list heads`.
        options: defaults of the head's own options (hidden widths, activation, number of modes, ...).
        paper: where the head is described.
    """

    name: str
    entry_point: str
    description: str
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    paper: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How heads are trained together; everything here is recorded with the result.

    Attributes:
        num_updates: gradient steps; the parameters after the last one are what is evaluated.
        batch_size: transitions a step, drawn uniformly with replacement.
        learning_rate: of the optimiser, without schedule unless `schedule` says otherwise.
        optimizer: `adam` or `adamw`.
        schedule: learning-rate schedule over the updates.
        input_norm: `batch` (BatchNorm on the input, statistics of the training demonstrations frozen
            after training), `standard` (per-dimension standardisation by the training demonstrations; principal
            components of a fitted readout are scaled as under `global`),
            `global` (one scale for all feature dimensions, so low-variance components stay small; proprioception as
            under `standard`) or `none`.
        action_norm: scale actions by the training demonstrations (`standard`: to mean 0 and deviation 1, for heads
            whose means pass through tanh to the range [-1, 1]) or leave them (`none`).
        use_proprio: append proprioception to the readout vector.
    """

    num_updates: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["adam", "adamw"]
    schedule: Literal["constant", "cosine"]
    input_norm: Literal["batch", "standard", "global", "none"]
    action_norm: Literal["standard", "none"]
    use_proprio: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Regularisation:
    """What keeps one head from overfitting; heads that differ in nothing else are trained together.

    Attributes:
        dropout: probability with which a unit of the hidden layers is left out of an update.
        weight_decay: on all trained parameters; decoupled under `adamw`, an L2 penalty under `adam`.
    """

    dropout: float = 0.0
    weight_decay: float = 0.0
