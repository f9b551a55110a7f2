"""What is known of a head without building it: plain data, importable in milliseconds."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

# Width of the two hidden layers that a head of unknown size is taken to have.
TYPICAL_WIDTH = 256


class HeadOptionError(ValueError):
    """An option that a head does not have, or a value that it does not take."""


class HeadOptions(BaseModel):
    """Base class of a head's own options. Each head adds typed fields with defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def num_weights(self, num_inputs: int, action_dim: int) -> int:
        """Roughly how many weights the network has; the forecast of training time uses it.

        The default is that of two hidden layers of 256 units. Heads of another size should override it.

        Args:
            num_inputs: width of the readout and proprioception together.
            action_dim: width of the action.
        """
        return num_inputs * TYPICAL_WIDTH + TYPICAL_WIDTH**2 + TYPICAL_WIDTH * action_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """One row of the head catalog.

    Attributes:
        name: catalog name.
        entry_point: `module:Class` of the head, see `pvrbench.policies.base.Head`.
        description: one line for `pvrbench list heads`.
        options: the head's own options (hidden widths, number of modes, ...). The instance holds their defaults, its
            class validates other values.
        paper: where the head is described.
        fit_together: whether the head has a `fit_many` that trains many policies faster than one after the other.
    """

    name: str
    entry_point: str
    description: str
    options: HeadOptions = field(default_factory=HeadOptions)
    paper: str = ""
    fit_together: bool = False

    def with_options(self, given: Mapping[str, JsonValue]) -> HeadSpec:
        """This head with some options changed.

        Args:
            given: option values by name, as JSON has them; all others stay as they are.

        Raises:
            HeadOptionError: the head has no such option, or the value is not valid.
        """
        kind = type(self.options)
        known = list(kind.model_fields)
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                have = f"Its options: {', '.join(known)}." if known else "It has no options."
                raise HeadOptionError(f"Head {self.name!r} has no option {name!r}. {hint}{have}")
        merged = {**self.options.model_dump(mode="json"), **given}
        try:
            # JSON's strict rules: a list is a tuple and 1 is a float, but "1" is no number.
            options = kind.model_validate_json(json.dumps(merged), strict=True)
        except ValidationError as error:
            raise HeadOptionError(f"Head {self.name!r}: {_problem(error, given)}") from error
        return replace(self, options=options)


def _problem(error: ValidationError, given: Mapping[str, JsonValue]) -> str:
    """The first problem that pydantic found, on one line."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    message = first["msg"].replace("\n", " ")
    if first["type"] == "too_short":
        message = "Give at least one"
    if not name:
        return f"options {dict(given)} are not valid. {message}."
    position = f" at position {first['loc'][1]}" if len(first["loc"]) > 1 else ""
    return f"option {name}={json.dumps(given.get(name))} is not valid{position}. {message}."


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the part of an encoder that a policy trains is optimised, beside readout and head.

    Attributes:
        learning_rate: peak of the learning rate; 0 leaves the encoder as it is.
        weight_decay: decoupled.
        warmup: share of the updates in which the learning rate rises linearly from 0.
        precision: of products in the encoder while it is trained.
        has_components: whether the readout gives principal components, which are scaled as a whole.
    """

    learning_rate: float
    weight_decay: float
    warmup: float
    precision: Literal["float32", "bfloat16"] = "float32"
    has_components: bool = False
