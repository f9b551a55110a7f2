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
    return Scaling(torch.zeros(values.shape[1]), torch.ones(values.shape[1]))


SCALINGS = {"standard": standard, "global": overall, "none": identity, "batch": identity}


def input_scaling(
    features: Float[Tensor, "T D"], proprio: Float[Tensor, "T P"], kind: Literal["batch", "standard", "global", "none"]
) -> Scaling:
    """Scaling of the concatenated head input; proprioception is standardised but under `batch`, which does both."""
    first = SCALINGS[kind](features)
    second = identity(proprio) if kind == "batch" else standard(proprio)
    return Scaling(torch.cat([first.mean, second.mean]), torch.cat([first.std, second.std]))
