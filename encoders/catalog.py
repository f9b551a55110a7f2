"""The encoders: one row each. Plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pvrbench.encoders.rows.generative import GENERATIVE_ENCODERS
from pvrbench.encoders.rows.packaged import PACKAGED_ENCODERS
from pvrbench.encoders.rows.robot import ROBOT_ENCODERS
from pvrbench.encoders.rows.timm_row import CLIP, HALF, IMAGENET, VIT_OUTPUTS, Family, default_readout, timm_row
from pvrbench.encoders.rows.vision import VISION_ENCODERS
from pvrbench.encoders.rows.zoo import ZOO_ENCODERS
from pvrbench.encoders.spec import EncoderSpec, FeatureField, OfficialResize


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


# Crops: the evaluation transforms of the authors' code: 224 of 256 pixels (MAE, DeiT, DINO, DINOv2, DINOv3), the whole
# shorter side (CLIP). SigLIP's processor squashes the frame to a square.
_MAE: Family = {
    "objective": "masked pixel reconstruction",
    "data": "ImageNet-1k without labels",
    "licence": "CC-BY-NC 4.0",
    "paper": "He et al. 2022, MAE, arXiv:2111.06377",
    "non_commercial": True,
    "crop": 0.875,
}
_AUGREG: Family = {
    "objective": "classification",
    "data": "ImageNet-21k, then ImageNet-1k",
    "licence": "Apache-2.0",
    "paper": "Steiner et al. 2021, arXiv:2106.10270",
}
_DEIT: Family = {
    "objective": "classification",
    "data": "ImageNet-1k",
    "licence": "Apache-2.0",
    "paper": "Touvron et al. 2021, DeiT, arXiv:2012.12877",
    "crop": 0.875,
}
_RESNET: Family = {
    "objective": "classification",
    "data": "ImageNet-1k",
    "licence": "Apache-2.0",
    "paper": "Wightman et al. 2021, ResNet strikes back, arXiv:2110.00476",
    "outputs": ("grid",),
}
_OPENAI: Family = {
    "objective": "image-text contrastive",
    "data": "WIT-400M",
    "licence": "MIT",
    "paper": "Radford et al. 2021, CLIP, arXiv:2103.00020",
    "crop": 1.0,
}
_OPENAI_RESNET: Family = {
    **_OPENAI,
    "outputs": ("grid", "pooled"),
    "default_readout": "pooled",
    # The attention pool projects to the 1024 channels that are compared with text.
    "options": {"num_classes": 1024},
    "crop": 1.0,
}
_SIGLIP: Family = {
    "objective": "image-text sigmoid",
    "data": "WebLI",
    "licence": "Apache-2.0",
    "paper": "Zhai et al. 2023, SigLIP, arXiv:2303.15343",
    "outputs": ("grid", "pooled"),
    # The published weights were trained with the tanh form of GELU.
    "options": {"act_layer": "gelu_tanh"},
    "crop": 1.0,
    "official": OfficialResize(squash=True),
}
_SIGLIP2: Family = {
    **_SIGLIP,
    "objective": "image-text sigmoid, captioning, self-distillation",
    "paper": "Tschannen et al. 2025, SigLIP 2, arXiv:2502.14786",
}
_DINO: Family = {
    "objective": "self-distillation",
    "data": "ImageNet-1k without labels",
    "licence": "Apache-2.0",
    "paper": "Caron et al. 2021, DINO, arXiv:2104.14294",
    "crop": 0.875,
}
_DINOV2: Family = {
    "objective": "self-distillation and masked patch prediction",
    "data": "LVD-142M",
    "licence": "Apache-2.0",
    "paper": "Oquab et al. 2023, DINOv2, arXiv:2304.07193",
    "prefix": 5,
    "options": {"img_size": 224},
    "crop": 0.875,
}
_DINOV3: Family = {
    "objective": "self-distillation and masked patch prediction",
    "data": "LVD-1689M",
    "licence": "DINOv3 License",
    "paper": "Siméoni et al. 2025, DINOv3, arXiv:2508.10104",
    "prefix": 5,
    "options": {"img_size": 224, "global_pool": "token", "rope_periods": "bfloat16"},
    "crop": 0.875,
}

_ROWS = (
    timm_row("mae_vitb16", "vit_base_patch16_224.mae", size=(224, 14, 768, 85.8), norm=IMAGENET, **_MAE),
    timm_row("mae_vitl16", "vit_large_patch16_224.mae", size=(224, 14, 1024, 303.3), norm=IMAGENET, **_MAE),
    timm_row("mae_vith14", "vit_huge_patch14_224.mae", size=(224, 16, 1280, 630.8), norm=IMAGENET, **_MAE),
    timm_row(
        "sup_vits16", "vit_small_patch16_224.augreg_in21k_ft_in1k", size=(224, 14, 384, 21.7), norm=HALF, **_AUGREG
    ),
    timm_row(
        "sup_vitb16", "vit_base_patch16_224.augreg_in21k_ft_in1k", size=(224, 14, 768, 85.8), norm=HALF, **_AUGREG
    ),
    timm_row(
        "sup_vitl16", "vit_large_patch16_224.augreg_in21k_ft_in1k", size=(224, 14, 1024, 303.3), norm=HALF, **_AUGREG
    ),
    timm_row("deit_tiny16", "deit_tiny_patch16_224.fb_in1k", size=(224, 14, 192, 5.5), norm=IMAGENET, **_DEIT),
    timm_row("deit_small16", "deit_small_patch16_224.fb_in1k", size=(224, 14, 384, 21.7), norm=IMAGENET, **_DEIT),
    timm_row("deit_base16", "deit_base_patch16_224.fb_in1k", size=(224, 14, 768, 85.8), norm=IMAGENET, **_DEIT),
    timm_row("sup_resnet18", "resnet18.a1_in1k", size=(224, 7, 512, 11.2), norm=IMAGENET, **_RESNET),
    timm_row("sup_resnet34", "resnet34.a1_in1k", size=(224, 7, 512, 21.3), norm=IMAGENET, **_RESNET),
    timm_row("sup_resnet50", "resnet50.a1_in1k", size=(224, 7, 2048, 23.5), norm=IMAGENET, **_RESNET),
    timm_row(
        "clip_vitb32", "vit_base_patch32_clip_quickgelu_224.openai", size=(224, 7, 768, 87.5), norm=CLIP, **_OPENAI
    ),
    timm_row(
        "clip_vitb16", "vit_base_patch16_clip_quickgelu_224.openai", size=(224, 14, 768, 85.8), norm=CLIP, **_OPENAI
    ),
    timm_row(
        "clip_vitl14", "vit_large_patch14_clip_quickgelu_224.openai", size=(224, 16, 1024, 303.2), norm=CLIP, **_OPENAI
    ),
    timm_row("clip_resnet50", "resnet50_clip.openai", size=(224, 7, 2048, 38.3), norm=CLIP, **_OPENAI_RESNET),
    timm_row("siglip_vitb16", "vit_base_patch16_siglip_224.webli", size=(224, 14, 768, 92.9), norm=HALF, **_SIGLIP),
    timm_row(
        "siglip_so400m14",
        "vit_so400m_patch14_siglip_224.webli",
        size=(224, 16, 1152, 427.7),
        norm=HALF,
        **_SIGLIP,
    ),
    timm_row(
        "siglip2_vitb16", "vit_base_patch16_siglip_224.v2_webli", size=(224, 14, 768, 92.9), norm=HALF, **_SIGLIP2
    ),
    timm_row(
        "siglip2_vitl16_256",
        "vit_large_patch16_siglip_256.v2_webli",
        size=(256, 16, 1024, 316.0),
        norm=HALF,
        **_SIGLIP2,
    ),
    timm_row(
        "siglip2_so400m14",
        "vit_so400m_patch14_siglip_224.v2_webli",
        size=(224, 16, 1152, 427.7),
        norm=HALF,
        **_SIGLIP2,
    ),
    timm_row("dino_vits16", "vit_small_patch16_224.dino", size=(224, 14, 384, 21.7), norm=IMAGENET, **_DINO),
    timm_row("dino_vitb16", "vit_base_patch16_224.dino", size=(224, 14, 768, 85.8), norm=IMAGENET, **_DINO),
    timm_row("dino_vitb8", "vit_base_patch8_224.dino", size=(224, 28, 768, 85.8), norm=IMAGENET, **_DINO),
    timm_row(
        "dinov2_vits14", "vit_small_patch14_reg4_dinov2.lvd142m", size=(224, 16, 384, 21.6), norm=IMAGENET, **_DINOV2
    ),
    timm_row(
        "dinov2_vitb14", "vit_base_patch14_reg4_dinov2.lvd142m", size=(224, 16, 768, 85.7), norm=IMAGENET, **_DINOV2
    ),
    timm_row(
        "dinov2_vitl14", "vit_large_patch14_reg4_dinov2.lvd142m", size=(224, 16, 1024, 303.2), norm=IMAGENET, **_DINOV2
    ),
    timm_row(
        "dinov3_vits16", "vit_small_patch16_dinov3_qkvb.lvd1689m", size=(224, 14, 384, 21.6), norm=IMAGENET, **_DINOV3
    ),
    timm_row(
        "dinov3_vitb16", "vit_base_patch16_dinov3_qkvb.lvd1689m", size=(224, 14, 768, 85.7), norm=IMAGENET, **_DINOV3
    ),
    timm_row(
        "dinov3_vitl16",
        "vit_large_patch16_dinov3_qkvb.lvd1689m",
        size=(224, 14, 1024, 303.1),
        norm=IMAGENET,
        **_DINOV3,
    ),
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

# Names by which others know a row; results are recorded under the row's own.
ALIASES: Mapping[str, str] = {"clip_rn50": "clip_resnet50", "zoo_voltron": "zoo_vcond"}

ENCODERS: Mapping[str, EncoderSpec] = {
    **{row.name: row for row in _ROWS},
    **VISION_ENCODERS,
    **PACKAGED_ENCODERS,
    **ROBOT_ENCODERS,
    **GENERATIVE_ENCODERS,
    **ZOO_ENCODERS,
}
