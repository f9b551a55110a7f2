"""No adaptation: the encoder is read as it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pvrbench.common.options import parse_options
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.base import Encoder


@dataclass(frozen=True, slots=True)
class FrozenOptions:
    """`frozen` has no options."""


class Frozen:
    """Leaves the encoder as it is.

    Args:
        spec: the catalog row.

    Raises:
        OptionError: an option is given.
    """

    def __init__(self, spec: AdaptationSpec) -> None:
        parse_options(FrozenOptions, spec.options, f"Adaptation {spec.name!r}")
        self.spec = spec
        # Nothing is computed, so there is neither code nor an option that could change a feature.
        self.digest = hashlib.sha256(type(self).__name__.encode()).hexdigest()

    def prepare(self, encoder: Encoder) -> Encoder:
        """The encoder itself."""
        return encoder
