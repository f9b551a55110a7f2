"""What is known of a readout without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pvrbench.encoders.spec import EncoderSpec, FeatureField

Option = str | int | float | bool

# Largest side of the grids that most readouts are given, and that caches hold.
COMPACT_SIDE = 8

# An encoder whose grid has no more channels than a picture gives pixels, not features.
_PIXEL_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSize:
    """Numbers of a trained or fitted stage between features and head: the sum of these parts.

    Attributes:
        fixed: whatever the encoder.
        per_channel: for each channel of the encoder.
        per_channel_squared: for each pair of channels.
        per_value: for each number of the grid that it reads, channels times cells.
    """

    fixed: int = 0
    per_channel: int = 0
    per_channel_squared: int = 0
    per_value: int = 0


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
        stage: size of what is trained or fitted in front of the head.
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
    stage: StageSize = StageSize()
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
        if self.reads == ("pooled",) and 0 < encoder.feature_dim <= _PIXEL_CHANNELS and budget_dim is None:
            # Pixels have no vector of their own but the picture itself.
            return encoder.feature_dim * encoder.grid_side**2
        return self.width_per_channel * encoder.feature_dim if budget_dim is None else budget_dim

    def num_weights(self, encoder: EncoderSpec, budget_dim: int | None = None) -> int:
        """Numbers of the stage between features and head, for forecasts.

        Args:
            encoder: the encoder that is read.
            budget_dim: common width to which features are projected first, if any.
        """
        channels, projection = encoder.feature_dim, 0
        if budget_dim is not None and not self.trains_on_pixels and not self.stage.per_value:
            channels, projection = budget_dim, channels * budget_dim
        side = encoder.grid_side if self.raw_grid else compact_side(encoder.grid_side)
        stage = self.stage
        return (
            projection
            + stage.fixed
            + stage.per_channel * channels
            + stage.per_channel_squared * channels**2
            + stage.per_value * channels * side**2
        )


def compact_side(side: int) -> int:
    """Side of a grid after it was averaged over whole blocks of the smallest factor that is enough (14 to 7)."""
    return side // -(-side // COMPACT_SIDE) if side > COMPACT_SIDE else side


def applies(readout: ReadoutSpec, encoder: EncoderSpec) -> bool:
    """Whether an encoder has the features that a readout reads, in the resolution and width that it asks for."""
    if encoder.only_readouts and readout.name not in encoder.only_readouts:
        return False
    return (
        all(name in encoder.outputs for name in readout.reads)
        and (encoder.grid_side == 0 or readout.min_grid_side <= encoder.grid_side)
        and (not readout.trains_on_pixels or encoder.feature_dim <= _PIXEL_CHANNELS)
    )
