"""Typed options of transition models and of the planner. They are data: importing them loads no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class TransformerOptions(_Options):
    """Size and training of the transformer."""

    width: Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
    """Width of its tokens."""
    num_layers: Annotated[int, Field(ge=1, le=64)]
    """Attention blocks."""
    num_heads: Annotated[int, Field(ge=1, le=64)]
    """Attention heads; `width` must be a multiple of it."""
    history: Annotated[int, Field(ge=1, le=16)]
    """Frames that it sees."""
    rollout: Annotated[int, Field(ge=1, le=16)]
    """Steps that the training loss goes on with the model's own predictions."""
    num_updates: Annotated[int, Field(ge=1, le=1_000_000)]
    """Gradient steps; the parameters after the last one are used."""
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    """Windows of trajectories in a step, drawn uniformly with replacement."""
    learning_rate: PositiveFloat
    """Peak of the learning rate, which rises linearly and falls with a cosine."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Decoupled weight decay."""


class CemOptions(_Options):
    """The cross-entropy method, and model-predictive control with it."""

    horizon: PositiveInt
    """Blocks that are planned ahead."""
    num_samples: Annotated[int, Field(ge=2, le=65536)]
    """Candidate plans in an iteration."""
    num_iterations: PositiveInt
    """Iterations of one planning step."""
    elite_share: Annotated[float, Field(gt=0, le=1)]
    """Share of the candidates, the best ones, to which the next distribution is fitted."""
    initial_std: PositiveFloat
    """Standard deviation of the first distribution, in units of actions in [-1, 1]."""
    executed: PositiveInt
    """Blocks that are executed before the next planning step."""
