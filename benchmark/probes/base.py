"""The contract of a probe: an encoder on a task in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from pvrbench.benchmark.probes.spec import Option, ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure, Picture
from pvrbench.common.reference import made_from
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.base import Array, Task
from pvrbench.envs.demos.demo_set import DemoSet
from pvrbench.envs.spec import View

T = TypeVar("T")


class ProbeError(ValueError):
    """A probe cannot be made of an encoder on a task; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of several episodes in the order of time, and what is known of them.

    Attributes:
        privileged: the privileged states.
        proprio: proprioception.
        actions: the expert's actions; zeros where nobody recorded them.
        episodes: the episode of each frame.
        features: by readout, a row for each frame.
    """

    privileged: Float32[Array, "N S"]
    proprio: Float32[Array, "N P"]
    actions: Float32[Array, "N A"]
    episodes: Int64[Array, " N"]
    features: Mapping[str, Tensor]


@runtime_checkable
class Subject(Protocol):
    """An encoder on a task, as probes see it.

    Attributes:
        task: the task, its environments and its expert.
        view: camera, size, render mode and look of the pictures.
        encoder: the row of the encoder.
        readouts: the readouts that fit the encoder.
        use_proprio: whether heads are given proprioception beside the features.
        demos: the demonstrations that may be used.
    """

    task: Task
    view: View
    encoder: EncoderSpec
    readouts: Mapping[str, ReadoutSpec]
    use_proprio: bool
    demos: DemoSet

    def demonstrations(self) -> Frames:
        """All frames of all demonstrations; their features are those that a run trains on, and share its cache."""
        ...

    def strayed(self, num_episodes: int, noise: float, stride: int) -> Frames:
        """Frames of held-out episodes in which the expert's actions are disturbed.

        Args:
            num_episodes: episodes, from the initial states of the split `selection`.
            noise: standard deviation of the disturbance.
            stride: control steps between frames.
        """
        ...

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What does not depend on the encoder: made once for all encoders of a task, found again by its key."""
        ...

    def encode(self, images: UInt8[Array, "N H W 3"]) -> Features:
        """Features of pictures, with the grid as the encoder made it."""
        ...

    def load(self) -> Encoder:
        """The encoder itself."""
        ...

    def with_options(self, options: Mapping[str, Option]) -> Subject:
        """The same weights on the same task with other options of the encoder, such as another timestep."""
        ...


@dataclass(frozen=True, slots=True)
class Findings:
    """What a probe found.

    Attributes:
        measures: the numbers.
        notes: what was left out, and why.
        pictures: for the report.
    """

    measures: tuple[Measure, ...]
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = field(default=())


@runtime_checkable
class Probe(Protocol):
    """A probe. What it draws at random has fixed seeds: the same subject always gives the same findings.

    Attributes:
        spec: the catalog row that it was made from.
    """

    spec: ProbeSpec

    def run(self, subject: Subject) -> Findings:
        """Probes an encoder on a task.

        Raises:
            ProbeError: this task or encoder cannot be probed so.
        """
        ...


def load_probe(spec: ProbeSpec) -> Probe:
    """Imports the class of a probe and makes it from its row.

    Raises:
        EntryPointError: the class cannot be imported.
        OptionError: an option is unknown or not valid.
        ValueError: the entry point makes something else.
    """
    return made_from(spec, Probe, "Probe", "spec or run")
