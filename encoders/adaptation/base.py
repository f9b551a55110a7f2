"""The contract of an adaptation: what a policy shares with others that read the same encoder, and what is its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.common.reference import made_from
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.base import Encoder, Features


class AdaptationError(ValueError):
    """An adaptation cannot be had for an encoder, or not on this machine; the text says why and what to do."""


@runtime_checkable
class Adaptation(Protocol):
    """What happens to an encoder before and while a policy is trained on it.

    An encoder is split into a shared part, which is the same for every policy, and the rest. `prepare` returns the
    shared part. Its features are computed once for all policies whose encoder and adaptation have the same digests.

    Attributes:
        spec: the catalog row that it was made from.
        digest: hex digest of what it does to the shared part.
    """

    spec: AdaptationSpec
    digest: str

    def prepare(self, encoder: Encoder) -> Encoder:
        """The frozen part of the encoder, which all policies share.

        Raises:
            AdaptationError: the encoder cannot be adapted in this way.
        """
        ...


class Rest(nn.Module, ABC):
    """The rest of an encoder, which belongs to one policy; `forward` maps `B ...` of the shared part to features.

    Only what is trained is registered as a parameter, so that only this is stored with a policy.
    """

    @abstractmethod
    def forward(self, shared: Float[Tensor, "B ..."]) -> Features:
        """Features of the adapted encoder."""


@runtime_checkable
class TrainedAdaptation(Adaptation, Protocol):
    """An adaptation that trains a part of the encoder with readout and head; its row has `keeps_features=False`.

    `prepare` returns an encoder whose `grid` is what `rest` reads: for LoRA and full fine-tuning the preprocessed
    pixels, for the last blocks the tokens before them. Its options have `learning_rate`, `weight_decay` and `warmup`,
    and `shift_px` where the grid is pixels, see `pvrbench.encoders.adaptation.options.TuningOptions`.
    """

    def rest(self, encoder: Encoder, seed: int) -> Rest:
        """What one policy trains. Before training it gives the features of the encoder as it is.

        Args:
            encoder: the encoder; it is not changed.
            seed: seeds the initial values of what is added.

        Raises:
            AdaptationError: the encoder cannot be adapted in this way.
        """
        ...


def load_adaptation(spec: AdaptationSpec) -> Adaptation:
    """Imports the class of an adaptation and makes it from its row.

    Raises:
        EntryPointError: the class cannot be imported.
        OptionError: an option is unknown or not valid.
        ValueError: the entry point gives something else.
    """
    if spec.keeps_features:
        return made_from(spec, Adaptation, "Adaptation", "spec, digest or prepare")
    return made_from(spec, TrainedAdaptation, "Adaptation", "spec, digest, rest or prepare")
