"""An adapted encoder and its readout as one trained module between the shared part and the head."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.encoders.adaptation.base import Rest, TrainedAdaptation
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.input_probe import device_of
from pvrbench.encoders.readouts.base import Readout, compact

_BATCH = 32


class AdaptedModule(nn.Module):
    """The rest of an encoder, then a readout.

    Args:
        encoder: the rest of the encoder.
        readout: its frozen stage is applied to the features.
        module: what the readout fitted or trains; None where it has none.
    """

    def __init__(self, encoder: Rest, readout: Readout, module: nn.Module | None) -> None:
        super().__init__()
        self.encoder, self.readout = encoder, module
        self._read = readout

    def forward(self, shared: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """What the head reads."""
        vectors = self.read(shared)
        return vectors if self.readout is None else self.readout(vectors)

    def read(self, shared: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """What the readout's frozen stage gives."""
        features: Features = self.encoder(shared)
        return self._read.read(features if self._read.spec.raw_grid else compact(features))


class AdaptedReadout:
    """A readout whose trained module holds the rest of the encoder too; see `pvrbench.encoders.readouts.base.Readout`.

    Args:
        adaptation: what is trained.
        encoder: the encoder as it is.
        readout: what reads the features.
    """

    def __init__(self, adaptation: TrainedAdaptation, encoder: Encoder, readout: Readout) -> None:
        self._adaptation, self._encoder, self._readout = adaptation, encoder, readout
        self.spec = replace(readout.spec, reads=("grid",), trainable=True, raw_grid=True)

    def read(self, features: Features) -> Float[Tensor, "B ..."]:
        """What the shared part gives, as it is."""
        if features.grid is None:
            raise ValueError(f"The shared part of encoder {self._encoder.spec.name!r} gives no grid.")
        return features.grid

    @torch.no_grad()
    def fit(self, train_features: Float[Tensor, "T ..."], seed: int, budget_dim: int | None) -> nn.Module:
        """The module at the start of training; a readout with statistics is fitted to the features as they are then."""
        module = AdaptedModule(self._adaptation.rest(self._encoder, seed), self._readout, None)
        device = device_of(self._encoder)
        parts = [module.read(part.to(device)).cpu() for part in torch.split(train_features, _BATCH)]
        module.readout = self._readout.fit(torch.cat(parts), seed, budget_dim)
        return module

    @torch.no_grad()
    def empty(self, feature_shape: tuple[int, ...], budget_dim: int | None) -> nn.Module:
        """A module of the same architecture, to be filled."""
        module = AdaptedModule(self._adaptation.rest(self._encoder, 0), self._readout, None)
        shape = module.read(torch.zeros(1, *feature_shape, device=device_of(self._encoder))).shape[1:]
        module.readout = self._readout.empty(tuple(shape), budget_dim)
        return module
