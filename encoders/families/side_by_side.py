"""Several encoders as one: their features of an image, joined along the channels.

`spec.parts` names the rows. Every part prepares the image and normalises as its own row says. With
`options["block"]`, a negative number, the grids are the outputs of that block, counted from the last, without the final
normalisation: vision-language models such as OpenVLA read their towers at the last block but one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from pvrbench.common.reference import resolve
from pvrbench.encoders.base import Encoder, EncoderFaultError, Features
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.preprocessing import check_images
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.location import parts_of

# Options of the row that are options of its parts.
_HANDED_ON = ("preprocessing", "block")


class SideBySideEncoder:
    """Frozen encoders whose features are joined.

    Args:
        spec: the catalog row.
        parts: the encoders, in the order of their channels.
    """

    def __init__(self, spec: EncoderSpec, parts: Sequence[Encoder]) -> None:
        self.spec = spec
        self._parts = tuple(parts)
        # The digest of a part covers its weights and preprocessing.
        self.digest = digest_of(replace(spec, options=dict(_options(spec, parts))), nn.ModuleList())
        self.reentrant = all(getattr(part, "reentrant", False) for part in parts)

    @torch.no_grad()
    def encode(self, inputs: UInt8[Tensor, "B H W 3"]) -> Features:
        """The grids, class tokens and pooled vectors that all parts have, joined along the channels."""
        check_images(inputs, self.spec.name)
        found = [part.encode(inputs) for part in self._parts]
        joined = {name: torch.cat([getattr(one, name) for one in found], dim=1) for name in self.spec.outputs}
        return Features(**joined)

    def to(self, device: str) -> SideBySideEncoder:
        """The encoder with its networks on `device`."""
        self._parts = tuple(part.to(device) for part in self._parts)
        return self


def load(spec: EncoderSpec) -> SideBySideEncoder:
    """The encoder of a row, each part with its own weights.

    Raises:
        WeightsError: the weights of a part cannot be had or do not fit.
        EncoderFaultError: the grids of the parts differ in size.
    """
    handed_on = {name: spec.options[name] for name in _HANDED_ON if name in spec.options}
    rows = [replace(row, outputs=spec.outputs, options={**row.options, **handed_on}) for row in parts_of(spec)]
    if "grid" in spec.outputs and len({row.grid_side for row in rows}) > 1:
        sides = ", ".join(f"{row.name} {row.grid_side}" for row in rows)
        raise EncoderFaultError(f"The grids of {spec.name!r} cannot be joined: {sides}. Name parts with equal grids.")
    build = cast("Callable[[str], Callable[[EncoderSpec], Encoder]]", resolve)
    return SideBySideEncoder(spec, [build(row.entry_point)(row) for row in rows])


def _options(spec: EncoderSpec, parts: Sequence[Encoder]) -> list[tuple[str, str | int | float | bool]]:
    return [*spec.options.items(), *((f"part_{index}", part.digest) for index, part in enumerate(parts))]
