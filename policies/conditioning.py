"""FiLM: an instruction scales and shifts what a readout gives.

Source: Perez et al. 2018, FiLM, arXiv:1709.07871, equation 1, with `1 + scale` as in their section 7.2: the network
starts as if there were no instruction.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.policies.training.normalization import overall, standard


def joined(features: Float[Tensor, "B ..."], instructions: Float[Tensor, "B L"]) -> Float[Tensor, "B J"]:
    """What `Film` reads: features in one row, the instruction behind them."""
    return torch.cat([features.flatten(1), instructions], dim=1)


class Film(nn.Module):
    """A readout whose output an instruction scales and shifts.

    Args:
        readout: module between features and head; None where features are vectors.
        feature_shape: shape of one row of features.
        instruction_dim: width of the embedding.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, readout: nn.Module | None, feature_shape: tuple[int, ...], instruction_dim: int) -> None:
        super().__init__()
        self.readout, self._shape = readout, feature_shape
        with torch.no_grad():
            width = self._read(torch.zeros(1, *feature_shape)).shape[1]
        self.scale, self.shift = nn.Linear(instruction_dim, width), nn.Linear(instruction_dim, width)
        for layer in (self.scale, self.shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    @torch.no_grad()
    def fit_scaling(self, features: Float[Tensor, "T ..."]) -> None:
        """Scales the readout by the training demonstrations, as heads do; one that is trained is left as it is."""
        if self.readout is not None and any(True for _ in self.readout.parameters()):
            return
        # Principal components are scaled as a whole.
        vectors = self._read(features)
        scaling = standard(vectors) if self.readout is None else overall(vectors)
        self.mean, self.std = scaling.mean, scaling.std

    def forward(self, rows: Float[Tensor, "B J"]) -> Float[Tensor, "B D"]:
        """What the head reads, from rows of `joined`."""
        size = math.prod(self._shape)
        told = rows[:, size:]
        vectors = (self._read(rows[:, :size].reshape(-1, *self._shape)) - self.mean) / self.std
        return vectors * (1 + self.scale(told)) + self.shift(told)

    def _read(self, features: Tensor) -> Tensor:
        return features if self.readout is None else cast("Tensor", self.readout(features))
