"""The readouts: what a head is given of an encoder's features. One row each; importable without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.readouts.spec import ReadoutSpec, StageSize, applies

__all__ = ["READOUTS", "ReadoutSpec", "applies"]

_POOLING = "pvrbench.encoders.readouts.pooling"


def _grid(side: int) -> ReadoutSpec:
    return ReadoutSpec(
        name=f"grid{side}",
        entry_point=f"{_POOLING}:GridCells",
        description=f"patch grid averaged over {side} x {side} cells, flattened",
        reads=("grid",),
        min_grid_side=side,
        width_per_channel=side**2,
        options={"side": side},
    )


_ROWS = (
    ReadoutSpec(
        name="class_token",
        entry_point=f"{_POOLING}:Pooled",
        description="class token",
        reads=("class_token",),
    ),
    ReadoutSpec(
        name="mean",
        entry_point=f"{_POOLING}:Pooled",
        description="mean of the patch grid",
        reads=("grid",),
    ),
    ReadoutSpec(
        name="class_mean",
        entry_point=f"{_POOLING}:Pooled",
        description="class token and mean of the patch grid, concatenated",
        reads=("class_token", "grid"),
        width_per_channel=2,
    ),
    ReadoutSpec(
        name="pooled",
        entry_point=f"{_POOLING}:Pooled",
        description="the encoder's own pooled vector, where it has one",
        reads=("pooled",),
    ),
    _grid(2),
    _grid(4),
    _grid(7),
    ReadoutSpec(
        name="grid_pca",
        entry_point="pvrbench.encoders.readouts.principal_components:GridComponents",
        description="compact patch grid, 256 principal components of the training demonstrations",
        reads=("grid",),
        trainable=True,
        width=256,
        stage=StageSize(per_value=257),
        options={"num_components": 256},
    ),
    ReadoutSpec(
        name="spatial_softmax",
        entry_point="pvrbench.encoders.readouts.spatial_softmax:SpatialSoftmaxReadout",
        description="expected image positions of 32 learned keypoints",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        width=64,
        stage=StageSize(fixed=32, per_channel=32),
        options={"num_keypoints": 32},
        paper="Finn et al. 2016, arXiv:1509.06113; as in robomimic, arXiv:2108.03298",
    ),
    ReadoutSpec(
        name="compression",
        entry_point="pvrbench.encoders.readouts.compression:Compression",
        description="convolution to about 2048 numbers, VC-1's compression layer",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        width=2048,
        stage=StageSize(per_channel=90),  # of a 14 x 14 grid, as the next
        options={"num_outputs": 2048},
        paper="Majumdar et al. 2023, VC-1, arXiv:2303.18240",
    ),
    ReadoutSpec(
        name="compression768",
        entry_point="pvrbench.encoders.readouts.compression:Compression",
        description="convolution to 768 numbers: 12 channels of an 8 x 8 grid, SCR's neck",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        width=768,
        stage=StageSize(per_channel=36),
        options={"num_outputs": 768},
        paper="Gupta et al. 2024, SCR, arXiv:2405.05852",
    ),
    ReadoutSpec(
        name="conv_neck",
        entry_point="pvrbench.encoders.readouts.conv_neck:ConvNeckReadout",
        description="three convolutions from a 14 x 14 grid to 256 numbers, Theia's policy neck",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        width=256,
        stage=StageSize(fixed=1_210_624, per_channel=4096),
        options={"width": 256},
        paper="Shang et al. 2024, Theia, arXiv:2407.20179",
    ),
    ReadoutSpec(
        name="attention",
        entry_point="pvrbench.encoders.readouts.attention:AttentionReadout",
        description="a learned query that attends to the patches, Voltron's multiheaded attention pooling",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        stage=StageSize(per_channel_squared=17),
        paper="Karamcheti et al. 2023, Voltron, arXiv:2302.12766; Lee et al. 2019, Set Transformer, arXiv:1810.00825",
    ),
    ReadoutSpec(
        name="cnn",
        entry_point="pvrbench.encoders.readouts.pixel_cnn:PixelCnn",
        description="a small convolutional network on raw pixels, trained end to end: the baseline without pretraining",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        trains_on_pixels=True,
        # Of pixels_84 and end_to_end_cnn: 64 channels of a 6 x 6 map.
        width=2304,
        stage=StageSize(fixed=92_320, per_channel=320),
    ),
    ReadoutSpec(
        name="cnn_shift",
        entry_point="pvrbench.encoders.readouts.pixel_cnn:PixelCnn",
        description="the same network, trained on frames that are shifted at random by up to 4 pixels",
        reads=("grid",),
        trainable=True,
        raw_grid=True,
        trains_on_pixels=True,
        shift_px=4,
        width=2304,
        paper="Kostrikov et al. 2021, DrQ, arXiv:2004.13649; Hansen et al. 2022, arXiv:2212.05749",
    ),
)

READOUTS: Mapping[str, ReadoutSpec] = {row.name: row for row in _ROWS}
