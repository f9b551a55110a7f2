"""The compact grid, reduced to its principal components over the training demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import ProjectedReadout


@dataclass(frozen=True, slots=True)
class ComponentOptions:
    """Options of `GridComponents`.

    Attributes:
        num_components: at most this many components; an equal budget may ask for fewer.
    """

    num_components: PositiveInt


class GridComponents(ProjectedReadout):
    """The flattened grid in the coordinates of its principal components. Fitted, not trained.

    There is no projection in front of it: an equal budget limits the number of components.
    """

    options_type = ComponentOptions

    def read(self, features: Features) -> Float[Tensor, "B D"]:
        """The flattened grid."""
        return self.fields(features)[0].flatten(1)

    def fit(self, train_features: Float[Tensor, "T D"], seed: int, budget_dim: int | None) -> PrincipalComponents:
        """The components of the training frames; the seed has no influence."""
        del seed
        return PrincipalComponents(train_features, self._num_components(train_features.shape[1], budget_dim))

    def empty(self, feature_shape: tuple[int, ...], budget_dim: int | None) -> PrincipalComponents:
        """Components of nothing, to be filled."""
        num_components = self._num_components(feature_shape[0], budget_dim)
        return PrincipalComponents(torch.zeros(1, feature_shape[0]), num_components)

    def _num_components(self, num_features: int, budget_dim: int | None) -> int:
        return min(self.options.num_components, budget_dim or num_features)


class PrincipalComponents(nn.Module):
    """Projection on the principal components of the training features. Not whitened: components keep their variance.

    Args:
        train_features: the rows that it is fitted to; no other frame is seen.
        num_components: at most this many; those along which the rows do not vary are zero.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, train_features: Float[Tensor, "T D"], num_components: int) -> None:
        super().__init__()
        self._max_components = num_components
        mean = train_features.mean(dim=0)
        rows = (train_features - mean).double()
        rank = min(num_components, *train_features.shape)
        # The smaller of the two Gram matrices has the same non-zero spectrum.
        few_rows = rows.shape[0] <= rows.shape[1]
        spectrum = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(rows @ rows.T if few_rows else rows.T @ rows))
        variances = spectrum[0].flip(0)[:rank]
        directions = spectrum[1].flip(1)[:, :rank].T
        if few_rows:
            directions = functional.normalize(directions @ rows, dim=1)
        varies = variances > 1e-10 * variances[:1]
        # A direction is defined up to sign: its largest entry is made positive, whatever the solver gave.
        signs = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
        self.register_buffer("mean", mean)
        self.register_buffer("components", (directions * signs * varies[:, None]).float())

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Coordinates along the components, largest variance first."""
        return (features - self.mean) @ self.components.T

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Few training frames give fewer components than were asked for; how many there are, only the file says.
        saved: Tensor | None = state_dict.get(f"{prefix}components")
        if saved is not None and saved.ndim == 2 and 0 < len(saved) <= self._max_components:
            self.components = self.components.new_zeros(len(saved), self.components.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
