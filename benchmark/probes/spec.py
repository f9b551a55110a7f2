"""What is known of a probe without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pvrbench.encoders.spec import EncoderSpec

Option = str | int | float | bool
Needs = Literal["readouts", "grid", "timestep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """One row of the catalog of probes.

    Attributes:
        name: catalog name.
        entry_point: `module:Class`; the class takes this spec and is a `pvrbench.benchmark.probes.base.Probe`.
        description: one line for `pvrbench list probes`.
        needs: what an encoder must have: `readouts` a readout that fits it, `grid` images and a patch grid,
            `timestep` a diffusion model whose block and timestep can be chosen.
        headline: name of the measure that stands for the whole probe, and what it is of, as
            `pvrbench.benchmark.records.probe_schema.Measure` names them.
        options: its own settings; the class checks them.
        paper: where it is described.
    """

    name: str
    entry_point: str
    description: str
    needs: Needs
    headline: tuple[str, str] = ("", "")
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    paper: str = ""

    def with_options(self, options: Mapping[str, Option]) -> ProbeSpec:
        """The row with some options changed."""
        return replace(self, options={**self.options, **options})


def lacks(needs: Needs, encoder: EncoderSpec) -> str:
    """Why an encoder has not what a probe needs, to stand behind the encoder's name; empty where it has."""
    if encoder.modality == "expert":
        return "is no encoder"
    if needs == "readouts":
        return "" if encoder.modality in ("image", "state") else "reads nothing"
    if encoder.modality != "image":
        return "reads no images"
    if "grid" not in encoder.outputs:
        return "gives no patch grid"
    has_timestep = "timestep" in encoder.options and ("block" in encoder.options or "blocks" in encoder.options)
    if needs == "timestep" and not has_timestep:
        return "is no diffusion model with a block and a timestep"
    return ""
