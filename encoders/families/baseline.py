"""Encoders that make a ranking mean something: pixels, the simulator's state, and nothing at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.preprocessing import check_images
from pvrbench.encoders.spec import EncoderSpec


class Baseline:
    """An encoder without parameters.

    Args:
        spec: the catalog row.
        function: inputs and spec to features.
    """

    def __init__(self, spec: EncoderSpec, function: Callable[[Tensor, EncoderSpec], Features]) -> None:
        self.spec = spec
        self._function = function
        # Where the code lies has no influence.
        parts = (function.__name__, spec.outputs, spec.feature_dim, spec.grid_side, sorted(spec.options.items()))
        self.digest = hashlib.sha256(repr(parts).encode()).hexdigest()

    @torch.no_grad()
    def encode(self, inputs: Shaped[Tensor, "B ..."]) -> Features:
        """Features of raw frames, states or nothing, by the modality of the spec."""
        if self.spec.modality == "image":
            check_images(inputs, self.spec.name)
        return self._function(inputs, self.spec)

    def to(self, device: str) -> Baseline:
        """The same object: it has nothing to move."""
        del device
        return self


def pixels(images: Tensor, spec: EncoderSpec) -> Features:
    """The image averaged over a `grid_side` x `grid_side` grid of cells, colours in [0, 1]."""
    colours = images.permute(0, 3, 1, 2).float() / 255
    grid = functional.adaptive_avg_pool2d(colours, spec.grid_side)
    return Features(grid=grid, pooled=grid.flatten(1) if "pooled" in spec.outputs else None)


def oracle(state: Tensor, spec: EncoderSpec) -> Features:
    """The simulator's privileged state, as it is."""
    del spec
    return Features(pooled=state.float())


def nothing(inputs: Tensor, spec: EncoderSpec) -> Features:
    """A vector of width 0: the head is left with proprioception."""
    del spec
    return Features(pooled=torch.zeros(len(inputs), 0, device=inputs.device))


_FUNCTIONS: Mapping[str, Callable[[Tensor, EncoderSpec], Features]] = {
    "pixels": pixels,
    "oracle": oracle,
    "proprio": nothing,
    "expert": nothing,
}


def load(spec: EncoderSpec) -> Baseline:
    """Makes the baseline of a catalog row."""
    return Baseline(spec, _FUNCTIONS[str(spec.options["kind"])])
