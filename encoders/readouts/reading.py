"""A readout by its row: for callers that hold no loaded readout."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import compact, load_readout
from pvrbench.encoders.readouts.spec import ReadoutSpec

__all__ = ["compact", "fit_readout", "read"]


def read(readout: ReadoutSpec, features: Features) -> Float[Tensor, "B ..."]:
    """What the frozen stage of a readout gives; see `Readout.read`."""
    return load_readout(readout).read(features)


def fit_readout(
    readout: ReadoutSpec, train_features: Float[Tensor, "T ..."], seed: int, budget_dim: int | None
) -> nn.Module | None:
    """The module of a readout; see `Readout.fit`."""
    return load_readout(readout).fit(train_features, seed, budget_dim)
