"""What is known of an adaptation without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Option = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationSpec:
    """One row of the adaptation catalog.

    Attributes:
        name: catalog name.
        entry_point: `module:Class`; the class takes this spec and is an
            `pvrbench.encoders.adaptation.base.Adaptation`.
        description: one line for lists.
        keeps_features: whether the encoder's features stay as they are, so that they may be computed once, cached, and
            shared by all policies that read this encoder.
        options: its own settings; the class checks them.
        paper: where it is described.
    """

    name: str
    entry_point: str
    description: str
    keeps_features: bool
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    paper: str = ""
