"""`gaussian` and `gmm`: a network whose outputs are a mixture of Gaussians over actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pvrbench.policies.base import State, options_of
from pvrbench.policies.options import MixtureOptions
from pvrbench.policies.row_products import apply_aligned, apply_by_row
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.training.stacked import StackedHead

LOW_NOISE_STD = 1e-4


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of diagonal Gaussians over actions, trained by maximum likelihood.

    Means pass through tanh, standard deviations are `softplus + min_std`. To act, `likeliest_mode` takes the mean of
    the mode of largest weight; `sampled_mode` draws a mode by its weight and adds noise of standard deviation 1e-4.

    Source: Mandlekar et al. 2021, robomimic, `GMMActorNetwork`; `sampled_mode` is its low-noise evaluation,
    `likeliest_mode` is ours, so that evaluation is deterministic.
    """

    num_modes: int
    min_std: float
    act_rule: Literal["likeliest_mode", "sampled_mode"]
    is_bounded: bool = True

    def width(self, action_dim: int) -> int:
        """Means, standard deviations and a weight for each mode."""
        return self.num_modes * (2 * action_dim + 1)

    def loss(self, outputs: Float[Tensor, "K B O"], actions: Float[Tensor, "K B A"]) -> Float[Tensor, " K"]:
        """Mean negative log-likelihood."""
        return -self.log_prob(outputs, actions).mean(dim=1)

    def log_prob(self, outputs: Float[Tensor, "*B O"], actions: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
        """Log density of actions under the mixture."""
        means, stds, log_weights = self.parameters(outputs)
        standardised = (actions.unsqueeze(-2) - means) / stds
        log_density = -0.5 * standardised.square() - stds.log() - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(log_weights + log_density.sum(dim=-1), dim=-1)

    def parameters(
        self, outputs: Float[Tensor, "*B O"]
    ) -> tuple[Float[Tensor, "*B M A"], Float[Tensor, "*B M A"], Float[Tensor, "*B M"]]:
        """Means, standard deviations and log weights of the mixture that a last layer describes."""
        means, stds, logits = self._parts(outputs)
        return torch.tanh(means), functional.softplus(stds) + self.min_std, logits.log_softmax(dim=-1)

    def start(self, seed: Sequence[int]) -> State:
        """The generator of the episode's noise where modes are drawn."""
        return np.random.default_rng(list(seed)) if self.act_rule == "sampled_mode" else None

    def act(self, outputs: Float[Tensor, "B O"], states: Sequence[State]) -> Float[Tensor, "B A"]:
        """The mean of one mode for each row."""
        means, _, logits = self._parts(outputs)
        rows = torch.arange(len(outputs), device=outputs.device)
        if self.act_rule == "likeliest_mode":
            mode = apply_by_row(_log_softmax, logits).argmax(dim=-1)
            return apply_aligned(torch.tanh, means[rows, mode])
        drawn = np.stack([state.random(1 + means.shape[-1], dtype=np.float32) for state in states])
        noise = torch.from_numpy(drawn).to(outputs.device)
        shares = apply_by_row(lambda row: _log_softmax(row).exp().cumsum(dim=-1), logits)
        mode = (shares < noise[:, :1]).sum(dim=-1).clamp(max=self.num_modes - 1)
        special: Any = torch.special  # its functions have no types
        normal = apply_aligned(special.ndtri, noise[:, 1:].clamp(1e-6, 1 - 1e-6))
        return apply_aligned(torch.tanh, means[rows, mode]) + LOW_NOISE_STD * normal

    def _parts(
        self, outputs: Float[Tensor, "*B O"]
    ) -> tuple[Float[Tensor, "*B M A"], Float[Tensor, "*B M A"], Float[Tensor, "*B M"]]:
        """The last layer's numbers for means, standard deviations and weights, as they are."""
        action_dim = (outputs.shape[-1] // self.num_modes - 1) // 2
        shape = (*outputs.shape[:-1], self.num_modes, action_dim)
        width = self.num_modes * action_dim
        means, stds, logits = outputs[..., :width], outputs[..., width : 2 * width], outputs[..., 2 * width :]
        return means.reshape(shape), stds.reshape(shape), logits


def _log_softmax(logits: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
    return logits.log_softmax(dim=-1)


class MixtureHead(StackedHead):
    """A multilayer perceptron with a mixture as its output, many of them trained together."""

    def __init__(self, spec: HeadSpec) -> None:
        options = options_of(spec, MixtureOptions)
        super().__init__(spec, options, Mixture(options.num_modes, options.min_std, options.act_rule))
