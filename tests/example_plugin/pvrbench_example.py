"""A package of one's own: one plug-in of each kind. Specs are data, so listing them imports no torch."""

from typing import Any

from pvrbench.benchmark.catalog import ComponentSpec
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.spec import LookSpec, TaskSpec
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


PUSH = TaskSpec(
    name="example/push", entry_point="pvrbench_example_task:PushTask", description="push the ball to the goal",
    horizon=60, control_hz=20, cameras=("top",), proprio_dim=2, state_dim=4, action_dim=2,
    success_rule="the ball is within 10 cm of the goal", packages=("mujoco",),
)  # fmt: skip


class NearestOptions(HeadOptions):
    """How many training frames are asked."""

    num_neighbours: int = 1


NEAREST = HeadSpec(
    name="example_nearest", entry_point="pvrbench_example_head:NearestHead",
    description="acts as the demonstrations did at the nearest frames", options=NearestOptions(),
)  # fmt: skip


FIRST_SUCCESS = ComponentSpec(
    name="example_first_success", entry_point="pvrbench_example_engine:FirstSuccess",
    description="one episode after another until one is solved",
)  # fmt: skip
ONE_PROCESS = ComponentSpec(
    name="example_process", entry_point="pvrbench_example_engine:OneProcessEach",
    description="each job in a process of its own",
)  # fmt: skip


def tint(scene: Any, rng: Any, options: Any) -> None:
    """Draws a colour for all materials and geoms; `strength` 1 replaces theirs by it."""
    for colours in (scene.model.geom_rgba, scene.model.mat_rgba):
        colours[:, :3] += options["strength"] * (rng.uniform(0, 1, 3) - colours[:, :3])


TINT = LookSpec(
    name="example/tint", entry_point="pvrbench_example:tint", description="everything is tinted",
    num_levels=2, options={"strength": (0.3, 0.7)},
)  # fmt: skip
