"""References beside the pretrained encoders: untrained networks, pixels, proprioception, the expert and the oracle.

Plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pvrbench.encoders.spec import EncoderSpec, FeatureField
from pvrbench.encoders.timm_row import IMAGENET, VIT_OUTPUTS, default_readout


def _random(name: str, model: str, size: tuple[int, int, int, float], outputs: tuple[FeatureField, ...]) -> EncoderSpec:
    image_size, grid_side, feature_dim, millions = size
    options: dict[str, str | int | float | bool] = {"model": model, "seed": 0}
    if "vit" in model and image_size != 224:
        options["img_size"] = image_size
    return EncoderSpec(
        name=name,
        entry_point="pvrbench.encoders.families.timm_backbone:load",
        objective="untrained",
        outputs=outputs,
        image_size=image_size,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        feature_dim=feature_dim,
        grid_side=grid_side,
        num_prefix_tokens=int("class_token" in outputs),
        num_params=round(millions * 1e6),
        default_readout=default_readout(outputs),
        options=options,
    )


def _baseline(name: str, objective: str, **columns: object) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        entry_point="pvrbench.encoders.families.baseline:load",
        objective=objective,
        **{"outputs": ("pooled",), "default_readout": "pooled", **columns},  # pyright: ignore[reportArgumentType]
    )


def _pixels(side: int) -> EncoderSpec:
    return _baseline(
        f"pixels_{side}",
        f"none: the image averaged over {side} x {side} cells",
        outputs=("grid", "pooled"),
        image_size=0,
        feature_dim=3,
        grid_side=side,
        options={"kind": "pixels", "side": side},
    )


_ROWS = (
    _random("random_vit_tiny", "vit_tiny_patch16_224", (224, 14, 192, 5.5), VIT_OUTPUTS),
    _random("random_vit_tiny_112", "vit_tiny_patch16_224", (112, 7, 192, 5.5), VIT_OUTPUTS),
    _random("random_vit_small", "vit_small_patch16_224", (224, 14, 384, 21.7), VIT_OUTPUTS),
    _random("random_resnet18", "resnet18", (224, 7, 512, 11.2), ("grid",)),
    _random("random_resnet18_64", "resnet18", (64, 2, 512, 11.2), ("grid",)),
    _random("random_resnet18_112", "resnet18", (112, 4, 512, 11.2), ("grid",)),
    _random("random_efficientnet_lite0", "tf_efficientnet_lite0", (224, 7, 1280, 3.4), ("grid",)),
    _random("random_resnet50", "resnet50", (224, 7, 2048, 23.5), ("grid",)),
    _pixels(7),
    _pixels(14),
    _pixels(28),
    _pixels(84),
    # The only rows that are not frozen: all there is to them is their readout, which is trained with the head.
    *(
        replace(
            _pixels(84),
            name=name,
            objective=f"none: a small CNN on pixels, not frozen but trained end to end with each head{how}",
            outputs=("grid",),
            default_readout=readout,
            only_readouts=(readout,),
        )
        for name, readout, how in (
            ("end_to_end_cnn", "cnn", ""),
            ("end_to_end_cnn_shift", "cnn_shift", ", on frames that are shifted at random"),
        )
    ),
    _baseline("proprio", "none: proprioception alone", modality="nothing", options={"kind": "proprio"}),
    _baseline("expert", "none: the scripted expert itself", modality="expert", options={"kind": "expert"}),
    _baseline("oracle", "none: the simulator's state", modality="state", options={"kind": "oracle"}),
)

REFERENCES: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
