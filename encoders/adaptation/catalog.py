"""The adaptations of an encoder: one row each. Plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.adaptation.options import AdapterOptions, BlocksOptions, LoraOptions, TuningOptions
from pvrbench.encoders.adaptation.spec import AdaptationSpec

_HERE = "pvrbench.encoders.adaptation"

_ROWS = (
    AdaptationSpec(
        name="frozen",
        entry_point=f"{_HERE}.frozen:Frozen",
        description="the encoder as it is: no parameter is changed",
        keeps_features=True,
    ),
    AdaptationSpec(
        name="lora",
        entry_point=f"{_HERE}.lora:Lora",
        description="low-rank updates of linear layers, and of convolutions with targets=all",
        keeps_features=False,
        options_type=LoraOptions,
        update_cost=2.1,
        paper="Hu et al. 2022, LoRA, arXiv:2106.09685",
    ),
    AdaptationSpec(
        name="adapters",
        entry_point=f"{_HERE}.adapters:Adapters",
        description="bottleneck adapters between the layers of a vision transformer",
        keeps_features=False,
        options_type=AdapterOptions,
        update_cost=2.1,
        paper="Sharma et al. 2023, arXiv:2304.06600",
    ),
    AdaptationSpec(
        name="last_blocks",
        entry_point=f"{_HERE}.last_blocks:LastBlocks",
        description="the last blocks of a vision transformer and its final normalisation",
        keeps_features=False,
        options_type=BlocksOptions,
        is_whole_network=False,
        update_cost=1.1,
    ),
    AdaptationSpec(
        name="full",
        entry_point=f"{_HERE}.full:Full",
        description="every parameter of the network",
        keeps_features=False,
        options_type=TuningOptions,
        trains_all=True,
        update_cost=3.2,
    ),
    AdaptationSpec(
        name="from_scratch",
        entry_point=f"{_HERE}.full:Full",
        description="every parameter of an untrained network, at a higher learning rate and with shifted frames",
        keeps_features=False,
        options_type=TuningOptions,
        options={"learning_rate": 1e-3, "shift_px": 4},
        untrained_only=True,
        trains_all=True,
        update_cost=3.2,
    ),
)

ADAPTATIONS: Mapping[str, AdaptationSpec] = {row.name: row for row in _ROWS}
