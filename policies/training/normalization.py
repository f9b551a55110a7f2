"""Scaling of inputs and actions by the training demonstrations alone, frozen afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

# Below this a dimension carries no information: dividing by its spread would turn rounding into signal.
MIN_STD = 1e-5


@dataclass(frozen=True, slots=True)
class Scaling:
    """`(x - mean) / std`, one network's own numbers."""

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]

    def apply(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Scaled values."""
        return (values - self.mean) / self.std

    def invert(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The values that `apply` would scale to these."""
        return values * self.std + self.mean


def standard(values: Float[Tensor, "T D"]) -> Scaling:
    """Each dimension to zero mean and unit variance; constant dimensions are only centred."""
    mean = values.mean(dim=0)
    std = (values - mean).square().mean(dim=0).sqrt()
    return Scaling(mean, torch.where(std < MIN_STD, torch.ones_like(std), std))


def overall(values: Float[Tensor, "T D"]) -> Scaling:
    """Each dimension centred, all divided by one number, so that dimensions of low variance stay small.

    Principal components are the case in point: standardised one by one, the last of them are noise at full scale.
    """
    mean = values.mean(dim=0)
    spread = (values - mean).square().mean().sqrt() if values.numel() else torch.ones(())
    return Scaling(mean, torch.full_like(mean, float(spread) if float(spread) >= MIN_STD else 1.0))


def identity(values: Float[Tensor, "T D"]) -> Scaling:
    """No change."""
    width, device = values.shape[1], values.device
    return Scaling(torch.zeros(width, device=device), torch.ones(width, device=device))


def to_range(values: Float[Tensor, "T D"]) -> Scaling:
    """Each dimension to [-1, 1]; constant dimensions are only centred."""
    low, high = values.amin(dim=0), values.amax(dim=0)
    half = (high - low) / 2
    return Scaling((high + low) / 2, torch.where(half < MIN_STD, torch.ones_like(half), half))


SCALINGS = {"standard": standard, "global": overall, "none": identity, "batch": identity}


def input_scaling(
    features: Float[Tensor, "T D"], proprio: Float[Tensor, "T P"], kind: Literal["batch", "standard", "global", "none"]
) -> Scaling:
    """Scaling of the concatenated head input; proprioception is a vector of mixed units and never scaled as a whole."""
    first = SCALINGS[kind](features)
    second = standard(proprio) if kind in ("standard", "global") else identity(proprio)
    return Scaling(torch.cat([first.mean, second.mean]), torch.cat([first.std, second.std]))


def action_scaling(actions: Float[Tensor, "T A"], kind: Literal["standard", "none"], *, is_bounded: bool) -> Scaling:
    """Scaling of the actions that a head is trained on.

    Args:
        actions: of the training demonstrations.
        kind: as in `TrainSettings.action_norm`.
        is_bounded: whether the head's means lie in [-1, 1]: standardised, actions beyond one standard deviation would
            be out of its reach, so each dimension is put into that range instead.
    """
    if kind == "none":
        return identity(actions)
    return to_range(actions) if is_bounded else standard(actions)
