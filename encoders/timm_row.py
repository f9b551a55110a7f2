"""What rows of timm's networks have in common whose weights timm keeps on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NotRequired, TypedDict, Unpack

from pvrbench.encoders.spec import EncoderSpec, FeatureField, OfficialResize, WeightsSource

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

VIT_OUTPUTS: tuple[FeatureField, ...] = ("class_token", "grid")


class Family(TypedDict):
    """What the rows of one family have in common.

    Attributes:
        objective: what it was trained for.
        data: pretraining data.
        licence: of the weights.
        paper: reference.
        outputs: fields of the features; by default class token and grid.
        default_readout: by default the class token, or the mean of the grid where there is none.
        non_commercial: whether the licence forbids commercial use; by default not.
        crop: share of the resized frame that the authors' evaluation keeps; by default what timm knows.
        official: what else sets the authors' preprocessing apart.
        prefix: tokens before the patches; by default the class token where there is one.
        interpolation: by default bicubic.
        options: further arguments of the architecture.
    """

    objective: str
    data: str
    licence: str
    paper: str
    outputs: NotRequired[tuple[FeatureField, ...]]
    default_readout: NotRequired[str]
    non_commercial: NotRequired[bool]
    crop: NotRequired[float]
    official: NotRequired[OfficialResize]
    prefix: NotRequired[int]
    interpolation: NotRequired[Literal["bicubic", "bilinear"]]
    options: NotRequired[Mapping[str, str | int | float | bool]]


def timm_row(
    name: str,
    model: str,
    size: tuple[int, int, int, float],
    norm: tuple[tuple[float, float, float], tuple[float, float, float]],
    **family: Unpack[Family],
) -> EncoderSpec:
    """A row with weights on the hub.

    Args:
        name: catalog name.
        model: timm's `<architecture>.<tag>`.
        size: input side in pixels, side of the grid, channels, millions of parameters.
        norm: mean and standard deviation of the preprocessing.
        family: what the family has in common.
    """
    image_size, grid_side, feature_dim, millions = size
    outputs = family.get("outputs", VIT_OUTPUTS)
    return EncoderSpec(
        name=name,
        entry_point="pvrbench.encoders.families.timm_backbone:load",
        objective=family["objective"],
        outputs=outputs,
        image_size=image_size,
        interpolation=family.get("interpolation", "bicubic"),
        mean=norm[0],
        std=norm[1],
        feature_dim=feature_dim,
        grid_side=grid_side,
        num_prefix_tokens=family.get("prefix", int("class_token" in outputs)),
        num_params=round(millions * 1e6),
        default_readout=family.get("default_readout", default_readout(outputs)),
        # CLIP's weights were trained with QuickGELU. timm has networks with it, and one file for both activations.
        weights=WeightsSource(uri=f"timm:{model.replace('_quickgelu', '')}"),
        licence=family["licence"],
        non_commercial=family.get("non_commercial", False),
        pretraining_data=family["data"],
        paper=family["paper"],
        crop_fraction=family.get("crop"),
        official=family.get("official", OfficialResize()),
        options={"model": model.partition(".")[0], **family.get("options", {})},
    )


def default_readout(outputs: tuple[FeatureField, ...]) -> str:
    """The class token where there is one, else the mean over the grid."""
    return "class_token" if "class_token" in outputs else "mean"


def with_weights(row: EncoderSpec, uri: str, converter: str) -> EncoderSpec:
    """A row whose weights are its authors' file instead of timm's.

    Args:
        row: the row.
        uri: where the file lies.
        converter: function of `weights/checkpoint_format.py` that brings the file into timm's layout.
    """
    return replace(
        row, weights=WeightsSource(uri=uri, converter=f"pvrbench.encoders.weights.checkpoint_format:{converter}")
    )
