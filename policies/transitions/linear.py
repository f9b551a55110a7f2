"""The baseline: the change of the latent is a linear function of the last frame and the action block."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.policies.transitions.base import Sequences

# Penalties as shares of the mean squared norm of a row; the best on the held-out episodes is taken.
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
HELD_OUT = 0.2


class LinearTransition(nn.Module):
    """Adds an affine function of the flat latent and the actions to the latent. Fulfils `Transition`.

    Args:
        num_tokens: tokens of a frame.
        latent_dim: numbers in a token.
        action_dim: numbers in an action block.
    """

    history: int = 1

    def __init__(self, num_tokens: int, latent_dim: int, action_dim: int) -> None:
        super().__init__()
        size = num_tokens * latent_dim
        self.weight = nn.Parameter(torch.zeros(size + action_dim, size), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(size), requires_grad=False)

    def predict(self, latents: Float[Tensor, "B F P D"], actions: Float[Tensor, "B F U"]) -> Float[Tensor, "B P D"]:
        """The latent after the last action block; see `Transition.predict`."""
        last = latents[:, -1]
        inputs = torch.cat([last.flatten(1), actions[:, -1]], dim=1)
        return last + (inputs @ self.weight + self.bias).reshape(last.shape)


def train_linear(sequences: Sequences) -> LinearTransition:
    """Ridge regression of one step; its penalty is the best one on the last fifth of the episodes.

    Args:
        sequences: the training trajectories, at least two.
    """
    _, _, num_tokens, latent_dim = sequences.latents.shape
    flat = sequences.latents.flatten(2).double()
    inputs = torch.cat([flat[:, :-1], sequences.actions.double()], dim=2)
    changes = flat[:, 1:] - flat[:, :-1]
    num_train = len(inputs) - max(1, round(HELD_OUT * len(inputs)))

    def error(penalty: float) -> float:
        weight, bias = _ridge(inputs[:num_train].flatten(0, 1), changes[:num_train].flatten(0, 1), penalty)
        return float((inputs[num_train:] @ weight + bias - changes[num_train:]).square().mean())

    weight, bias = _ridge(inputs.flatten(0, 1), changes.flatten(0, 1), min(PENALTIES, key=error))
    model = LinearTransition(num_tokens, latent_dim, sequences.actions.shape[2])
    model.weight.copy_(weight)
    model.bias.copy_(bias)
    return model.eval()


def _ridge(inputs: Float[Tensor, "N I"], targets: Float[Tensor, "N O"], penalty: float) -> tuple[Tensor, Tensor]:
    mean, offset = inputs.mean(dim=0), targets.mean(dim=0)
    rows = inputs - mean
    size = float(rows.square().sum(dim=1).mean())
    gram = rows.T @ rows + penalty * len(rows) * size / rows.shape[1] * torch.eye(rows.shape[1], dtype=rows.dtype)
    weight = cast("Tensor", torch.linalg.solve(gram, rows.T @ (targets - offset)))
    return weight, offset - mean @ weight
