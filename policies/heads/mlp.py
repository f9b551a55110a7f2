"""`linear` and `mlp`: a network whose outputs are the action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pvrbench.policies.base import State, options_of
from pvrbench.policies.options import LinearOptions, MlpOptions
from pvrbench.policies.row_products import apply_aligned
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.training.stacked import StackedHead


@dataclass(frozen=True, slots=True)
class Deterministic:
    """Actions themselves, trained by mean squared error; where they are squashed, tanh keeps them in (-1, 1).

    Source: squashing is robomimic's `ActorNetwork`, Mandlekar et al. 2021.
    """

    is_bounded: bool

    def width(self, action_dim: int) -> int:
        """One number for each action dimension."""
        return action_dim

    def loss(self, outputs: Float[Tensor, "K B O"], actions: Float[Tensor, "K B A"]) -> Float[Tensor, " K"]:
        """Mean squared error."""
        means = torch.tanh(outputs) if self.is_bounded else outputs
        return (means - actions).square().mean(dim=(1, 2))

    def start(self, seed: Sequence[int]) -> State:
        """Nothing to remember."""
        del seed

    def act(self, outputs: Float[Tensor, "B O"], states: Sequence[State]) -> Float[Tensor, "B A"]:
        """The outputs, squashed where that is asked for."""
        del states
        return apply_aligned(torch.tanh, outputs) if self.is_bounded else outputs


class MlpHead(StackedHead):
    """A linear map or multilayer perceptron, many of them trained together."""

    def __init__(self, spec: HeadSpec) -> None:
        options = spec.options if isinstance(spec.options, LinearOptions) else options_of(spec, MlpOptions)
        super().__init__(spec, options, Deterministic(not isinstance(options, LinearOptions) and options.squash))
