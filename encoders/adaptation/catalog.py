"""The adaptations of an encoder: one row each. Plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.adaptation.spec import AdaptationSpec

_ROWS = (
    AdaptationSpec(
        name="frozen",
        entry_point="pvrbench.encoders.adaptation.frozen:Frozen",
        description="the encoder as it is: no parameter is changed",
        keeps_features=True,
    ),
)

ADAPTATIONS: Mapping[str, AdaptationSpec] = {row.name: row for row in _ROWS}
