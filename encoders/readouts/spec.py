"""What is known of a readout without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pvrbench.encoders.spec import EncoderSpec, FeatureField

Option = str | int | float | bool

# An encoder whose grid has no more channels than a picture gives pixels, not features.
_PIXEL_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutSpec:
    """One row of the readout catalog.

    Attributes:
        name: catalog name.
        entry_point: `module:Class`; the class takes this spec and is a `pvrbench.encoders.readouts.base.Readout`.
        description: one line for `pvrbench list readouts`.
        reads: the fields of the features that it needs.
        trainable: whether it has parameters that are trained with the head, or statistics fitted to the training set.
        raw_grid: whether it reads the grid as the encoder made it, rather than the compact one.
        trains_on_pixels: whether it is a network on raw pixels. It applies to grids of at most 3 channels, and
            training costs about as much as that of a small encoder.
        shift_px: pixels by which training frames of a network on raw pixels are shifted at random, at most.
        min_grid_side: smallest side of a grid that it can read.
        width: numbers that the head is given, where they do not depend on the encoder; else 0.
        width_per_channel: numbers for each channel of the encoder, where they do.
        options: its own settings; the class checks them.
        paper: where it is described.
    """

    name: str
    entry_point: str
    description: str
    reads: tuple[FeatureField, ...]
    trainable: bool = False
    raw_grid: bool = False
    trains_on_pixels: bool = False
    shift_px: int = 0
    min_grid_side: int = 0
    width: int = 0
    width_per_channel: int = 1
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    paper: str = ""

    def output_dim(self, encoder: EncoderSpec, budget_dim: int | None = None) -> int:
        """Number of inputs of the head for one frame, for forecasts: networks may differ from it by a few percent.

        Args:
            encoder: the encoder that is read.
            budget_dim: common width to which vectors, or the channels of grids, are projected first, if any.
        """
        if self.width:
            return self.width
        return self.width_per_channel * encoder.feature_dim if budget_dim is None else budget_dim


def applies(readout: ReadoutSpec, encoder: EncoderSpec) -> bool:
    """Whether an encoder has the features that a readout reads, in the resolution and width that it asks for."""
    if encoder.only_readouts and readout.name not in encoder.only_readouts:
        return False
    return (
        all(name in encoder.outputs for name in readout.reads)
        and (encoder.grid_side == 0 or readout.min_grid_side <= encoder.grid_side)
        and (not readout.trains_on_pixels or encoder.feature_dim <= _PIXEL_CHANNELS)
    )
