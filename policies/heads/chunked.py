"""`chunked`: an MLP that predicts the next actions, ensembled over time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pvrbench.policies.base import State, options_of
from pvrbench.policies.options import ChunkedOptions
from pvrbench.policies.row_products import RowLinear
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.training.modules import ModuleHead, ModulePolicy


@dataclass(frozen=True, kw_only=True)
class ChunkedPolicy(ModulePolicy):
    """Acts at every step by all predictions for that step, or executes one chunk after another.

    The state of an episode holds the earlier chunks that still reach the present step, oldest first.
    """

    @property
    def options(self) -> ChunkedOptions:
        """The head's options."""
        return options_of(self.spec, ChunkedOptions)

    @property
    def chunk(self) -> int:
        """One action where predictions are ensembled, else all of a chunk."""
        return 1 if self.options.ensemble else self.options.chunk

    def start(self, seed: Sequence[int]) -> State:
        """No earlier chunks. Nothing is random."""
        del seed
        return deque[Tensor](maxlen=self.options.chunk)

    def act_rows(self, inputs: Float[Tensor, "B I"], states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """The ensembled action of this step, or the whole chunk."""
        predicted = cast("Tensor", self.module.network(inputs)).reshape(len(inputs), self.options.chunk, -1)
        actions = self.module.unscale(predicted)
        if not self.options.ensemble:
            return actions
        return torch.stack([self._ensemble(own.clone(), state) for own, state in zip(actions, states, strict=True)])

    def _ensemble(self, actions: Float[Tensor, "K A"], chunks: deque[Tensor]) -> Float[Tensor, "1 A"]:
        chunks.append(actions)
        # The newest chunk's first action is for this step, the second of the one before it, and so on.
        now = torch.stack([chunk[len(chunks) - 1 - age] for age, chunk in enumerate(chunks)])
        weights = torch.exp(-self.options.ensemble_decay * torch.arange(len(now), device=now.device))[:, None]
        return (weights * now).sum(dim=0, keepdim=True) / weights.sum()


class ChunkedHead(ModuleHead):
    """Action chunking with temporal ensembling.

    Source: Zhao et al. 2023, Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware, arXiv:2304.13705:
    L1 loss over the chunk, actions after the end of a demonstration masked, ensemble weights exp(-m i) with i = 0 for
    the oldest prediction. It deviates in the network, which is an MLP without latent variable in place of a conditional
    VAE with transformers.
    """

    policy = ChunkedPolicy

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.options = options_of(spec, ChunkedOptions)
        self.horizon = self.options.chunk

    def network(self, input_dim: int, action_dim: int, dropout: float) -> nn.Module:
        """ReLU and dropout after each hidden layer."""
        widths = (input_dim, *self.options.hidden)
        layers = [
            part for pair in itertools.pairwise(widths) for part in (RowLinear(*pair), nn.ReLU(), nn.Dropout(dropout))
        ]
        return nn.Sequential(*layers, RowLinear(widths[-1], self.horizon * action_dim))

    def loss(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "B I"],
        actions: Float[Tensor, "B K A"],
        is_real: Bool[Tensor, "B K"],
    ) -> Float[Tensor, ""]:
        """Mean absolute error of the actions that the demonstration has."""
        errors = (cast("Tensor", network(inputs)).view(actions.shape) - actions).abs().mean(dim=2)
        return (errors * is_real).sum() / is_real.sum()
