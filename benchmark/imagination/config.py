"""Settings of `pvrbench imagine`: the group `imagination` of the configuration. Defaults live in `benchmark/conf`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pvrbench.policies.transitions.options import CemOptions, TransformerOptions

ModelName = Literal["transformer", "linear"]
ProjectionName = Literal["pca", "random"]

# Controls that are no encoders: planning in the true simulator, and no planning at all.
SIMULATOR, RANDOM_ACTIONS = "simulator", "random_actions"


class ImaginationConfig(TransformerOptions, CemOptions):
    """What models are trained on, how their error is measured, and how they are planned with."""

    models: Annotated[tuple[ModelName, ...], Field(min_length=1)]
    """Transition models of each encoder: `transformer`, `linear`."""
    projections: Annotated[tuple[ProjectionName, ...], Field(min_length=1)]
    """How the channels of the grid are reduced: `pca`, or `random` as a control."""
    controls: tuple[str, ...]
    """Further contenders: `simulator` plans in the true simulator, `random_actions` does not plan, and all others are
    encoders; none twice."""
    grid_side: Annotated[int, Field(ge=1, le=8)]
    """Side to which the grid of features is averaged; its square is the number of tokens."""
    latent_dim: Annotated[int, Field(ge=1, le=4096)]
    """Numbers in a token after the reduction; less where the encoder has fewer channels."""
    num_trajectories: Annotated[int, Field(ge=6, le=100_000)]
    """Training trajectories: a third each of the expert, the disturbed expert and random actions."""
    num_test_trajectories: Annotated[int, Field(ge=3, le=100_000)]
    """Held-out trajectories on which errors are measured."""
    num_blocks: Annotated[int, Field(ge=2, le=10_000)]
    """Action blocks in a trajectory."""
    block_steps: Annotated[int, Field(ge=1, le=100)]
    """Control steps in an action block; frames are seen between blocks."""
    noise: Annotated[float, Field(ge=0, le=10)]
    """Standard deviation of what disturbs the expert; it is held for a block."""
    error_horizon: Annotated[int, Field(ge=1, le=100)]
    """Largest horizon of the error curves, in blocks."""
    num_pairs: Annotated[int, Field(ge=0, le=100_000)]
    """Held-out pairs of start and goal; 0 measures errors only."""
    goal_steps: Annotated[int, Field(ge=1, le=10_000)]
    """Control steps of the expert between start and goal; a start that is nearer begins at the reset."""
    budget: Annotated[float, Field(gt=0, le=100)]
    """Control steps that a plan may take, over those of the expert from start to goal."""
