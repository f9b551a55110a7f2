"""Full fine-tuning: every parameter of the network is trained."""

from __future__ import annotations

import torch
from torch import nn

from pvrbench.encoders.adaptation.network import WholeNetwork, train_parameters


class Full(WholeNetwork):
    """Trains every parameter. Running statistics of BatchNorm stay as they are."""

    def attach(self, network: nn.Module, generator: torch.Generator) -> dict[str, nn.Parameter]:
        """A copy of each parameter."""
        del generator
        return train_parameters(network)
