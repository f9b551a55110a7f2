"""The readouts: what a head is given of an encoder's features. One row each; importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pvrbench.encoders.spec import EncoderSpec, FeatureField


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutSpec:
    """One row of the readout catalog.

    Attributes:
        name: catalog name.
        kind: which function of `pvrbench.encoders.readouts.reading` does it.
        description: one line for `pvrbench list readouts`.
        reads: the fields of the features that it needs.
        trainable: whether it has parameters that are trained with the head, or statistics fitted to the training set.
        raw_grid: whether it reads the grid as the encoder made it, rather than the compact one.
        options: its own settings.
        paper: where it is described.
    """

    name: str
    kind: str
    description: str
    reads: tuple[FeatureField, ...]
    trainable: bool = False
    raw_grid: bool = False
    options: Mapping[str, int] = field(default_factory=dict[str, int])
    paper: str = ""


def _grid(side: int) -> ReadoutSpec:
    return ReadoutSpec(
        name=f"grid{side}",
        kind="grid",
        description=f"patch grid averaged over {side} x {side} cells, flattened",
        reads=("grid",),
        options={"side": side},
    )


_ROWS = (
    ReadoutSpec(name="class_token", kind="class_token", description="class token", reads=("class_token",)),
    ReadoutSpec(name="mean", kind="mean", description="mean of the patch grid", reads=("grid",)),
    ReadoutSpec(
        name="class_mean",
        kind="class_mean",
        description="class token and mean of the patch grid, concatenated",
        reads=("class_token", "grid"),
    ),
    ReadoutSpec(
        name="pooled", kind="pooled", description="the encoder's own pooled vector, where it has one", reads=("pooled",)
    ),
    _grid(2),
    _grid(4),
    _grid(7),
    ReadoutSpec(
        name="grid_pca",
        kind="grid_pca",
        description="compact patch grid, 256 principal components of the training demonstrations",
        reads=("grid",),
        trainable=True,
        options={"num_components": 256},
    ),
    ReadoutSpec(
        name="spatial_softmax",
        kind="spatial_softmax",
        description="expected image positions of 32 learned keypoints",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        options={"num_keypoints": 32},
        paper="Finn et al. 2016, arXiv:1509.06113; as in robomimic, arXiv:2108.03298",
    ),
    ReadoutSpec(
        name="compression",
        kind="compression",
        description="convolution to about 2048 numbers, VC-1's compression layer",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        options={"num_outputs": 2048},
        paper="Majumdar et al. 2023, VC-1, arXiv:2303.18240",
    ),
    ReadoutSpec(
        name="compression768",
        kind="compression",
        description="convolution to 768 numbers: 12 channels of an 8 x 8 grid, SCR's neck",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        options={"num_outputs": 768},
        paper="Gupta et al. 2024, SCR, arXiv:2405.05852",
    ),
    ReadoutSpec(
        name="conv_neck",
        kind="conv_neck",
        description="three convolutions from a 14 x 14 grid to 256 numbers, Theia's policy neck",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        options={"width": 256},
        paper="Shang et al. 2024, Theia, arXiv:2407.20179",
    ),
    ReadoutSpec(
        name="attention",
        kind="attention",
        description="a learned query that attends to the patches, Voltron's multiheaded attention pooling",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        paper="Karamcheti et al. 2023, Voltron, arXiv:2302.12766; Lee et al. 2019, Set Transformer, arXiv:1810.00825",
    ),
    ReadoutSpec(
        name="cnn",
        kind="cnn",
        description="a small convolutional network on raw pixels, trained end to end: the baseline without pretraining",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        options={"max_channels": 3},
    ),
)

READOUTS: Mapping[str, ReadoutSpec] = {row.name: row for row in _ROWS}


def applies(readout: ReadoutSpec, encoder: EncoderSpec) -> bool:
    """Whether an encoder has the features that a readout reads, in the resolution and width that it asks for.

    The encoder whose own readout is the network trained end to end is nothing without it.
    """
    if encoder.default_readout == "cnn" and readout.kind != "cnn":
        return False
    side = readout.options.get("side", 0)
    max_channels = readout.options.get("max_channels", encoder.feature_dim)
    return (
        all(name in encoder.outputs for name in readout.reads)
        and (encoder.grid_side == 0 or side <= encoder.grid_side)
        and encoder.feature_dim <= max_channels
    )
