"""The contract of an adaptation: what a policy shares with others that read the same encoder, and what is its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

from pvrbench.common.reference import resolve
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.base import Encoder


@runtime_checkable
class Adaptation(Protocol):
    """What happens to an encoder before and while a policy is trained on it.

    An encoder is split into a shared part, which is the same for every policy, and the rest. `prepare` returns the
    shared part. Its features are computed once for all policies whose encoder and adaptation have the same digests.

    An adaptation that trains (LoRA, the last blocks, all parameters) returns from `prepare` the part of the network
    that stays frozen: for LoRA and full fine-tuning that is only the preprocessing, for the last blocks it is the
    network up to them. Its spec has `keeps_features=False`. What is trained goes the way of a trained readout: a module
    between features and head that is optimised with the head and stored with the policy. Such an adaptation brings
    that module in a method of its own, which will be added to this protocol with the first one.

    Attributes:
        spec: the catalog row that it was made from.
        digest: hex digest of its code and options.
    """

    spec: AdaptationSpec
    digest: str

    def prepare(self, encoder: Encoder) -> Encoder:
        """The frozen part of the encoder, which all policies share."""
        ...


def load_adaptation(spec: AdaptationSpec) -> Adaptation:
    """Imports the class of an adaptation and makes it from its row.

    Raises:
        EntryPointError: the class cannot be imported.
        OptionError: an option is unknown or not valid.
        ValueError: the entry point gives something else.
    """
    make = resolve(spec.entry_point)
    made = cast("Callable[[AdaptationSpec], object]", make)(spec) if callable(make) else make
    if not isinstance(made, Adaptation):
        raise ValueError(  # noqa: TRY004 - the row is wrong, not a caller's type
            f"Adaptation {spec.name!r}: {spec.entry_point} gives a {type(made).__name__}, which lacks spec, "
            "digest or prepare. See pvrbench.encoders.adaptation.base.Adaptation."
        )
    return made
