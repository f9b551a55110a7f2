"""The contract of behaviour-cloning heads: features and proprioception in, actions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from pvrbench.policies.spec import Regularisation


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """One head to be trained: its demonstrations, its regularisation and its seed.

    Jobs may share the tensors of many demonstrations, F frames in all, and name the T transitions they learn from.

    Attributes:
        features: frozen readout of every frame; a vector, or a grid where `front` reads grids.
        proprio: proprioception at the same instants.
        actions: expert actions in [-1, 1].
        seed: seeds initialisation, batches and dropout of this head alone.
        rows: the frames that are learnt from; None for all, in their order.
        front: a trainable readout that maps `B ...` features to `B D` vectors, trained with the head;
            None where the features are vectors already.
        regularisation: of this head.
    """

    features: Float[Tensor, "F ..."]
    proprio: Float[Tensor, "F P"]
    actions: Float[Tensor, "F A"]
    seed: int
    rows: Int[Tensor, " T"] | None = None
    front: nn.Module | None = None
    regularisation: Regularisation = field(default_factory=Regularisation)


@dataclass(frozen=True, slots=True)
class UntrainedHead:
    """In place of a head that could not be trained, see `TrainedHead`; it does not act."""

    failure: str
    num_params: Mapping[str, int] = field(default_factory=dict[str, int])
    train_log: Mapping[str, object] = field(default_factory=dict[str, object])
    checkpoints: Mapping[int, TrainedHead] = field(default_factory=dict[int, "TrainedHead"])
    noise_dim: int = 0

    def act(
        self,
        features: Float[Tensor, "B ..."],
        proprio: Float[Tensor, "B P"],
        noise: Float[Tensor, "B Z"],
    ) -> Float[Tensor, "B A"]:
        """Refuses.

        Raises:
            RuntimeError: always.
        """
        del features, proprio, noise
        raise RuntimeError(f"This head was never trained: {self.failure}")


@runtime_checkable
class TrainedHead(Protocol):
    """A head after its last update.

    Attributes:
        num_params: trained parameters of head and trainable readout, each by name.
        train_log: losses over the updates, JSON-ready.
        failure: why training failed (a loss that is not finite), None where it did not.
        noise_dim: uniform random numbers in [0, 1) that `act` needs for each row; 0 for heads that
            act deterministically.
    """

    @property
    def num_params(self) -> Mapping[str, int]:
        """Trained parameters of `head` and `front`."""
        ...

    @property
    def train_log(self) -> Mapping[str, object]:
        """Losses over the updates."""
        ...

    @property
    def failure(self) -> str | None:
        """Why training failed."""
        ...

    @property
    def checkpoints(self) -> Mapping[int, TrainedHead]:
        """Earlier states of this head by the number of updates, where they were kept."""
        ...

    @property
    def noise_dim(self) -> int:
        """Uniform random numbers a row."""
        ...

    def act(
        self,
        features: Float[Tensor, "B ..."],
        proprio: Float[Tensor, "B P"],
        noise: Float[Tensor, "B Z"],
    ) -> Float[Tensor, "B A"]:
        """Actions in [-1, 1] for a batch of observations; a pure function of its arguments."""
        ...
