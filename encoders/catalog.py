"""The encoders: the rows of `rows/`, by name. Plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.rows.distilled import DISTILLED_ENCODERS
from pvrbench.encoders.rows.generative import GENERATIVE_ENCODERS
from pvrbench.encoders.rows.image_text import IMAGE_TEXT_ENCODERS
from pvrbench.encoders.rows.packaged import PACKAGED_ENCODERS
from pvrbench.encoders.rows.references import REFERENCES
from pvrbench.encoders.rows.robot import ROBOT_ENCODERS
from pvrbench.encoders.rows.self_supervised import SELF_SUPERVISED_ENCODERS
from pvrbench.encoders.rows.supervised import SUPERVISED_ENCODERS
from pvrbench.encoders.rows.zoo import ZOO_ENCODERS
from pvrbench.encoders.spec import EncoderSpec

# Names by which others know a row; results are recorded under the row's own.
ALIASES: Mapping[str, str] = {"clip_rn50": "clip_resnet50", "zoo_voltron": "zoo_vcond"}

ENCODERS: Mapping[str, EncoderSpec] = {
    **SELF_SUPERVISED_ENCODERS,
    **SUPERVISED_ENCODERS,
    **IMAGE_TEXT_ENCODERS,
    **DISTILLED_ENCODERS,
    **PACKAGED_ENCODERS,
    **ROBOT_ENCODERS,
    **GENERATIVE_ENCODERS,
    **ZOO_ENCODERS,
    **REFERENCES,
}
