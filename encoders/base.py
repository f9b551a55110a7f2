"""The contract of an encoder: raw uint8 images in, frozen features out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pvrbench.encoders.spec import EncoderSpec


class EncoderFaultError(ValueError):
    """An encoder cannot be used or must not be ranked; the text names the fault and the remedy in one line."""


@dataclass(frozen=True, slots=True)
class Features:
    """What an encoder says about B inputs, in float32; a field is None where the encoder lacks that output.

    Attributes:
        class_token: the final, normalised class token.
        grid: the final, normalised patch tokens or feature map, row-major from the image's top left.
        pooled: the network's own pooled vector where that is neither of these (a pretrained attention
            probe, a projection, the simulator state of the oracle).
    """

    class_token: Float[Tensor, "B D"] | None = None
    grid: Float[Tensor, "B D h w"] | None = None
    pooled: Float[Tensor, "B P"] | None = None


@runtime_checkable
class Encoder(Protocol):
    """A frozen network together with its preprocessing.

    One that also has an attribute `reentrant = True` may be asked to encode in several threads at once, which is
    faster on a processor.

    Attributes:
        spec: the catalog row it was built from.
        digest: hex digest of everything that determines its output: weights, preprocessing and options.
    """

    spec: EncoderSpec
    digest: str

    def encode(self, inputs: Shaped[Tensor, "B ..."]) -> Features:
        """Encodes a batch under `torch.no_grad` in eval mode.

        Args:
            inputs: for modality `image` uint8 RGB `B H W 3` in 0..255, upright, on any device; for
                modality `state` the float32 privileged state `B S`; for `nothing` float32 `B 0`.

        Raises:
            TypeError: the dtype or layout of the inputs is another.
        """
        ...

    def to(self, device: str) -> Encoder:
        """Returns the encoder with its parameters on `device` (`cpu`, `cuda`, `cuda:1`)."""
        ...


@runtime_checkable
class TrainableEncoder(Encoder, Protocol):
    """An encoder whose network can be adapted: it lets gradients through, from preprocessed pixels to features."""

    @property
    def network(self) -> nn.Module:
        """The network, with everything that features depend on; `features` reads it at every call."""
        ...

    def features(self, pixels: Float[Tensor, "B 3 S S"]) -> Features:
        """What `encode` gives after preprocessing, with the gradients that the caller has enabled."""
        ...
