"""Encoders trained on images without labels, by self-distillation, masking or contrast. Plain data.

All are stock timm networks. Crops are those of the authors' evaluation transforms: mostly 224 of 256 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec, OfficialResize
from pvrbench.encoders.timm_row import CLIP, IMAGENET, Family, timm_row, with_weights

_MAE: Family = {
    "objective": "masked pixel reconstruction",
    "data": "ImageNet-1k without labels",
    "licence": "CC-BY-NC 4.0",
    "paper": "He et al. 2022, MAE, arXiv:2111.06377",
    "non_commercial": True,
    "crop": 0.875,
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
    "objective": "self-distillation and masked patch prediction, distilled from a larger network",
    "data": "LVD-1689M",
    "licence": "DINOv3 License",
    "paper": "Siméoni et al. 2025, DINOv3, arXiv:2508.10104",
    "prefix": 5,
    "options": {"img_size": 224, "global_pool": "token", "rope_periods": "bfloat16"},
    "crop": 0.875,
}
# The class token of these is the mean over the grid, normalised: here the pooled vector.
_DINOV3_CONVNEXT: Family = {
    **_DINOV3,
    "outputs": ("grid", "pooled"),
    "default_readout": "pooled",
    "prefix": 0,
    "options": {"final_norm": "head.norm"},
}
_EVA02: Family = {
    "objective": "masked prediction of CLIP features",
    "data": "ImageNet-21k without labels",
    "licence": "MIT",
    "paper": "Fang et al. 2023, EVA-02, arXiv:2303.11331",
    "options": {"final_norm": "fc_norm"},
}
_IJEPA: Family = {
    "objective": "prediction of masked features (joint embedding)",
    "data": "ImageNet-1k without labels",
    "licence": "CC-BY-NC 4.0",
    "paper": "Assran et al. 2023, I-JEPA, arXiv:2301.08243",
    "crop": 0.875,
    "outputs": ("grid",),
    "non_commercial": True,
}
_MOCOV3: Family = {
    "objective": "contrastive with a momentum encoder",
    "data": "ImageNet-1k without labels",
    "licence": "CC-BY-NC 4.0",
    "paper": "Chen et al. 2021, MoCo v3, arXiv:2104.02057",
    "non_commercial": True,
    "official": OfficialResize(interpolation="bilinear"),
    "crop": 0.875,
}
_IBOT: Family = {
    "objective": "self-distillation and masked patch prediction",
    "data": "ImageNet-1k without labels",
    "licence": "Apache-2.0",
    "paper": "Zhou et al. 2021, iBOT, arXiv:2111.07832",
    "crop": 0.875,
}
_FAIR = "https://dl.fbaipublicfiles.com/"
_IBOT_FILES = "https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/archive/2022/ibot/"


def _plain_vit(name: str, size: str, family: Family, uri: str, converter: str, **network: int) -> EncoderSpec:
    """A small or base vision transformer with patches of 16 pixels, whose file is its authors'."""
    shape = {"small": (224, 14, 384, 21.7), "base": (224, 14, 768, 85.8)}[size]
    row = timm_row(name, f"vit_{size}_patch16_224", size=shape, norm=IMAGENET, **{**family, "options": dict(network)})
    return with_weights(row, uri, converter)


_ROWS = (
    timm_row("mae_vitb16", "vit_base_patch16_224.mae", size=(224, 14, 768, 85.8), norm=IMAGENET, **_MAE),
    timm_row("mae_vitl16", "vit_large_patch16_224.mae", size=(224, 14, 1024, 303.3), norm=IMAGENET, **_MAE),
    timm_row("mae_vith14", "vit_huge_patch14_224.mae", size=(224, 16, 1280, 630.8), norm=IMAGENET, **_MAE),
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
    timm_row(
        "dinov3_vits16plus",
        "vit_small_plus_patch16_dinov3_qkvb.lvd1689m",
        size=(224, 14, 384, 28.7),
        norm=IMAGENET,
        **_DINOV3,
    ),
    timm_row(
        "dinov3_vith16plus",
        "vit_huge_plus_patch16_dinov3_qkvb.lvd1689m",
        size=(224, 14, 1280, 840.6),
        norm=IMAGENET,
        **_DINOV3,
    ),
    timm_row(
        "dinov3_convnext_tiny",
        "convnext_tiny.dinov3_lvd1689m",
        size=(224, 7, 768, 27.8),
        norm=IMAGENET,
        **_DINOV3_CONVNEXT,
    ),
    timm_row(
        "dinov3_convnext_base",
        "convnext_base.dinov3_lvd1689m",
        size=(224, 7, 1024, 87.6),
        norm=IMAGENET,
        **_DINOV3_CONVNEXT,
    ),
    timm_row("eva02_vits14", "eva02_small_patch14_224.mim_in22k", size=(224, 16, 384, 21.6), norm=CLIP, **_EVA02),
    timm_row("eva02_vitb14", "eva02_base_patch14_224.mim_in22k", size=(224, 16, 768, 85.8), norm=CLIP, **_EVA02),
    with_weights(
        timm_row(
            "ijepa_vith14",
            "vit_huge_patch14_gap_224.in1k_ijepa",
            size=(224, 16, 1280, 630.8),
            norm=IMAGENET,
            **_IJEPA,
        ),
        f"{_FAIR}ijepa/IN1K-vit.h.14-300e.pth.tar",
        "ijepa",
    ),
    # 12 heads of 32 channels, as in MVP; the usual small ViT has 6 of 64.
    _plain_vit(
        "mocov3_vits16", "small", _MOCOV3, f"{_FAIR}moco-v3/vit-s-300ep/vit-s-300ep.pth.tar", "moco_v3", num_heads=12
    ),
    _plain_vit("mocov3_vitb16", "base", _MOCOV3, f"{_FAIR}moco-v3/vit-b-300ep/vit-b-300ep.pth.tar", "moco_v3"),
    _plain_vit("ibot_vits16", "small", _IBOT, f"{_IBOT_FILES}vits_16/checkpoint_teacher.pth", "ibot"),
    _plain_vit("ibot_vitb16", "base", _IBOT, f"{_IBOT_FILES}vitb_16/checkpoint_teacher.pth", "ibot"),
)

SELF_SUPERVISED_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
