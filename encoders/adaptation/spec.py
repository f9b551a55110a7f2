"""What is known of an adaptation without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from pvrbench.common.options import parse_options
from pvrbench.encoders.adaptation.options import NoOptions
from pvrbench.encoders.spec import EncoderSpec

Option = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationSpec:
    """One row of the adaptation catalog.

    Attributes:
        name: catalog name.
        entry_point: `module:Class`; the class takes this spec and is an
            `pvrbench.encoders.adaptation.base.Adaptation`, or a `TrainedAdaptation` of that module.
        description: one line for lists.
        keeps_features: whether the encoder's features stay as they are, so that they may be computed once, cached, and
            shared by all policies that read this encoder.
        options_type: dataclass of its options, with their defaults.
        options: values that differ from those; the class checks them.
        untrained_only: whether it is for networks without pretrained weights.
        is_whole_network: whether each policy runs the whole network, rather than what follows a shared part of it.
        trains_all: whether every parameter of the network is trained.
        update_cost: operations that one training frame takes in an update, over those of encoding it; for forecasts.
        paper: where it is described.
    """

    name: str
    entry_point: str
    description: str
    keeps_features: bool
    options_type: type[Any] = NoOptions
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    untrained_only: bool = False
    is_whole_network: bool = True
    trains_all: bool = False
    update_cost: float = 0.0
    paper: str = ""

    def with_options(self, given: Mapping[str, object]) -> AdaptationSpec:
        """This adaptation with some options changed; every option then stands in `options`.

        Args:
            given: values by name; all others stay as they are.

        Raises:
            OptionError: it has no such option, or the value is not valid.
        """
        parsed: Any = parse_options(self.options_type, {**self.options, **given}, f"Adaptation {self.name!r}")
        names = [part.name for part in fields(self.options_type)]
        return replace(self, options={name: cast("Option", getattr(parsed, name)) for name in names})


def refusal(adaptation: AdaptationSpec, encoder: EncoderSpec) -> str | None:
    """Why an adaptation cannot be had for an encoder, as far as the rows tell; None where it can."""
    if adaptation.keeps_features:
        return None
    if encoder.modality != "image":
        return f"{adaptation.name} trains a network, and {encoder.name} has none"
    if encoder.num_params == 0:
        return f"{adaptation.name} trains a network, and the row of {encoder.name} states none (num_params is 0)"
    if adaptation.untrained_only and encoder.weights is not None:
        return f"{adaptation.name} is for untrained networks, and {encoder.name} has pretrained weights"
    return None
