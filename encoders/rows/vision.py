"""Rows of general vision encoders since DINOv2, and of self-supervised ones that robot-learning papers compare with.

Plain data. All are stock timm networks. Each is given with the number of prefix tokens and the final normalisation of
its own code: Perception Encoder's spatial models and C-RADIO have none, ConvNeXt and EVA-02 have theirs in timm's head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pvrbench.encoders.rows.timm_row import CLIP, HALF, IMAGENET, Family, timm_row
from pvrbench.encoders.spec import EncoderSpec, OfficialResize, WeightsSource

_FORMAT = "pvrbench.encoders.weights.checkpoint_format"
_FAIR = "https://dl.fbaipublicfiles.com/"
_IBOT_FILES = "https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/archive/2022/ibot/"
# TIPS sees pixels in [0, 1].
_RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_SQUARE_BILINEAR = OfficialResize(squash=True, interpolation="bilinear")

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
_EUPE: Family = {
    **_DINOV3,
    "objective": "distillation of several vision foundation models",
    "licence": "FAIR Noncommercial Research License",
    "paper": "EUPE 2026, arXiv:2603.22387",
    "non_commercial": True,
    "official": OfficialResize(squash=True, interpolation="bilinear"),
    "crop": 1.0,
}
_EVA02: Family = {
    "objective": "masked prediction of CLIP features",
    "data": "ImageNet-21k without labels",
    "licence": "MIT",
    "paper": "Fang et al. 2023, EVA-02, arXiv:2303.11331",
    "options": {"final_norm": "fc_norm"},
}
_PE_SPATIAL: Family = {
    "objective": "image-text contrastive, then distillation of its own and SAM's spatial features",
    "data": "5.4 billion image-text pairs, videos",
    "licence": "Apache-2.0",
    "paper": "Bolya et al. 2025, Perception Encoder, arXiv:2504.13181",
    "official": _SQUARE_BILINEAR,
    "crop": 1.0,
}
_PE_CORE: Family = {
    **_PE_SPATIAL,
    "objective": "image-text contrastive",
    # The attention pool before the projection to the 1024 channels that are compared with text.
    "outputs": ("class_token", "grid", "pooled"),
    "default_readout": "pooled",
}
_AIMV2: Family = {
    "objective": "autoregressive prediction of patches and text",
    "data": "12 billion images, of them part with text (DFN, COYO, HQITP)",
    "licence": "Apple sample code licence",
    "paper": "Fini et al. 2024, AIMv2, arXiv:2411.14402",
    "outputs": ("grid",),
    "crop": 1.0,
}
_SAM2: Family = {
    "objective": "promptable segmentation of images and videos, from a masked autoencoder",
    "data": "SA-1B and SA-V",
    "licence": "Apache-2.0",
    "paper": "Ravi et al. 2024, SAM 2, arXiv:2408.00714; weights 2.1",
    "outputs": ("grid",),
    "options": {"headless": True},
    "official": _SQUARE_BILINEAR,
    "crop": 1.0,
}
_CRADIO: Family = {
    "objective": "distillation of several vision foundation models",
    "data": "web images, not described further",
    "licence": "NVIDIA Open Model License",
    "paper": "Heinrich et al. 2024, RADIOv2.5, arXiv:2412.07679",
    "prefix": 8,
    "options": {"img_size": 224, "resample": "bilinear"},
    "official": OfficialResize(squash=True, interpolation="bilinear", antialias=False),
    "crop": 1.0,
}
_TIPSV2: Family = {
    "objective": "image-text contrastive with self-distillation and masked patch prediction",
    "data": "WebLI, captions rewritten",
    "licence": "Apache-2.0",
    "paper": "TIPSv2 2026, arXiv:2604.12012",
    "prefix": 2,
    "options": {"img_size": 224, "resample": "bilinear_antialiased"},
    "official": _SQUARE_BILINEAR,
    "crop": 1.0,
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
_DEPTH_ANYTHING: Family = {
    "objective": "depth estimation, from DINOv2",
    "data": "595 thousand rendered pictures, then 62 million photographs with depth of a larger network",
    "licence": "Apache-2.0",
    "paper": "Yang et al. 2024, Depth Anything V2, arXiv:2406.09414",
    "options": {"img_size": 224, "resample": "bicubic_offset"},
    "crop": 1.0,
}


def _elsewhere(row: EncoderSpec, uri: str, converter: str) -> EncoderSpec:
    """A row whose official file is not timm's."""
    return replace(row, weights=WeightsSource(uri=uri, converter=f"{_FORMAT}:{converter}"))


def _cradio(name: str, model: str, repo: str, size: tuple[int, float], **family: object) -> EncoderSpec:
    channels, millions = size
    columns: Family = {**_CRADIO, **family}  # pyright: ignore[reportAssignmentType]
    row = timm_row(name, model, size=(224, 14, channels, millions), norm=CLIP, **columns)
    return _elsewhere(row, f"hf:nvidia/{repo}/model.safetensors", "radio")


def _sam2(size: str, channels: int, millions: float) -> EncoderSpec:
    model = f"sam2_hiera_{size}.fb_r896_2pt1"
    row = timm_row(f"sam21_hiera_{size}", model, size=(512, 16, channels, millions), norm=IMAGENET, **_SAM2)
    file = f"sam2.1_hiera_{size}.pt"
    source = WeightsSource(
        uri=f"timm:{model}",
        mirrors=(f"{_FAIR}segment_anything_2/092824/{file}",),
        converter=f"{_FORMAT}:sam2",
    )
    return replace(row, weights=source)


def _depth_anything(size: str, channels: int, millions: float, **licence: object) -> EncoderSpec:
    columns: Family = {**_DEPTH_ANYTHING, **licence}  # pyright: ignore[reportAssignmentType]
    name = {"s": "Small", "b": "Base"}[size]
    model = f"vit_{name.lower()}_patch14_dinov2.lvd142m"
    row = timm_row(f"depthanything_v2_vit{size}14", model, size=(224, 16, channels, millions), norm=IMAGENET, **columns)
    uri = f"hf:depth-anything/Depth-Anything-V2-{name}/depth_anything_v2_vit{size}.pth"
    return _elsewhere(row, uri, "depth_anything")


def _plain_vit(name: str, size: str, family: Family, uri: str, converter: str, **network: int) -> EncoderSpec:
    """A small or base vision transformer with patches of 16 pixels, whose file is its authors'."""
    shape = {"small": (224, 14, 384, 21.7), "base": (224, 14, 768, 85.8)}[size]
    row = timm_row(name, f"vit_{size}_patch16_224", size=shape, norm=IMAGENET, **{**family, "options": dict(network)})
    return _elsewhere(row, uri, converter)


_ROWS = (
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
    timm_row(
        "eupe_vitt16",
        "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m",
        size=(224, 14, 192, 5.5),
        norm=IMAGENET,
        **_EUPE,
    ),
    timm_row(
        "eupe_vits16",
        "vit_small_patch16_dinov3_qkvb.eupe_lvd1689m",
        size=(224, 14, 384, 21.6),
        norm=IMAGENET,
        **_EUPE,
    ),
    timm_row(
        "eupe_vitb16",
        "vit_base_patch16_dinov3_qkvb.eupe_lvd1689m",
        size=(224, 14, 768, 85.7),
        norm=IMAGENET,
        **_EUPE,
    ),
    timm_row("eva02_vits14", "eva02_small_patch14_224.mim_in22k", size=(224, 16, 384, 21.6), norm=CLIP, **_EVA02),
    timm_row("eva02_vitb14", "eva02_base_patch14_224.mim_in22k", size=(224, 16, 768, 85.8), norm=CLIP, **_EVA02),
    timm_row(
        "pe_spatial_vitt16_512",
        "vit_pe_spatial_tiny_patch16_512.fb",
        size=(512, 32, 192, 5.7),
        norm=HALF,
        **_PE_SPATIAL,
    ),
    timm_row(
        "pe_spatial_vits16_512",
        "vit_pe_spatial_small_patch16_512.fb",
        size=(512, 32, 384, 22.0),
        norm=HALF,
        **_PE_SPATIAL,
    ),
    timm_row(
        "pe_spatial_vitb16_512",
        "vit_pe_spatial_base_patch16_512.fb",
        size=(512, 32, 768, 86.4),
        norm=HALF,
        **_PE_SPATIAL,
    ),
    timm_row(
        "pe_spatial_vitl14_448",
        "vit_pe_spatial_large_patch14_448.fb",
        size=(448, 32, 1024, 304.0),
        norm=HALF,
        **_PE_SPATIAL,
    ),
    timm_row("pe_core_vitb16", "vit_pe_core_base_patch16_224.fb", size=(224, 14, 768, 92.9), norm=HALF, **_PE_CORE),
    timm_row("aimv2_vitl14", "aimv2_large_patch14_224.apple_pt", size=(224, 16, 1024, 309.2), norm=CLIP, **_AIMV2),
    _sam2("tiny", 768, 26.8),
    _sam2("base_plus", 896, 68.7),
    timm_row("tipsv2_vitb14", "vit_base_patch14_reg1_tipsv2.webli", size=(224, 16, 768, 85.7), norm=_RAW, **_TIPSV2),
    timm_row("tipsv2_vitl14", "vit_large_patch14_reg1_tipsv2.webli", size=(224, 16, 1024, 303.2), norm=_RAW, **_TIPSV2),
    _cradio("cradio_v3_vitb16", "vit_base_patch16_radio_v3.c_radio", "C-RADIOv3-B", (768, 85.8)),
    _cradio("cradio_v3_vitl16", "vit_large_patch16_radio_v3.c_radio", "C-RADIOv3-L", (1024, 303.4)),
    _cradio(
        "cradio_v4_so400m16",
        "vit_so400m_patch16_radio_v4.c_radio",
        "C-RADIOv4-SO400M",
        (1152, 412.6),
        prefix=10,
        paper="C-RADIOv4 2026, arXiv:2601.17237",
    ),
    _elsewhere(
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
    _depth_anything("s", 384, 21.6),
    _depth_anything("b", 768, 85.7, licence="CC-BY-NC 4.0", non_commercial=True),
)

VISION_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
