"""What is known of a text encoder without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pvrbench.encoders.spec import EncoderSpec, WeightsSource


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderSpec:
    """One row of the catalog of text encoders.

    Attributes:
        name: catalog name.
        entry_point: `module:function` that takes the spec and the meanings (the wordings of each task that a policy
            learns, in order) and returns a `TextEncoder`.
        description: one line for `pvrbench list text_encoders`.
        dim: width of the embedding; 0 where it is the number of meanings.
        reads_words: whether any text can be embedded; else only the wordings of the tasks.
        weights: where the weights are published; None where there are none.
        num_params: parameters of the network.
        licence: licence of the weights.
        paper: where the method is described.
        options: constructor data.
    """

    name: str
    entry_point: str
    description: str
    dim: int = 0
    reads_words: bool = True
    weights: WeightsSource | None = None
    num_params: int = 0
    licence: str = "none"
    paper: str = ""
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])


def weights_row(spec: TextEncoderSpec) -> EncoderSpec:
    """The row by which the weights of a text encoder are found, fetched and verified, as those of other encoders."""
    return EncoderSpec(
        name=spec.name,
        entry_point=str(spec.options["network"]),
        objective=spec.description,
        weights=spec.weights,
        num_params=spec.num_params,
        feature_dim=spec.dim,
        licence=spec.licence,
        paper=spec.paper,
    )
