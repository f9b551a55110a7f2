"""A package of one's own: an encoder, a head and a readout. Specs are data, so listing them imports no torch."""

from typing import Any

from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.policies.spec import HeadOptions, HeadSpec


def mean_colour(images: Any) -> Any:
    """Mean colour of uint8 images `B H W 3`, as a vector `B 3` in 0..1."""
    return images.float().mean(dim=(1, 2)) / 255


reference = {"reference": "pvrbench_example:mean_colour"}
COLOUR = EncoderSpec(
    name="example_colour", entry_point="pvrbench.encoders.families.custom:load", objective="none", image_size=0,
    options=reference, outputs=("pooled",), default_readout="pooled", feature_dim=3, licence="MIT",
)  # fmt: skip
MAX = ReadoutSpec(
    name="example_max", entry_point="pvrbench_example_readout:MaxPooling", description="maximum over the patch grid",
    reads=("grid",), raw_grid=True,
)  # fmt: skip


class NearestOptions(HeadOptions):
    """How many training frames are asked."""

    num_neighbours: int = 1


NEAREST = HeadSpec(
    name="example_nearest", entry_point="pvrbench_example_head:NearestHead",
    description="acts as the demonstrations did at the nearest frames", options=NearestOptions(),
)  # fmt: skip
