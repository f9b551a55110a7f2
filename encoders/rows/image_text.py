"""Encoders trained on images with text. Plain data.

All are stock timm networks. CLIP's code crops the whole shorter side. SigLIP's processor squashes the
frame to a square.
"""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec, OfficialResize
from pvrbench.encoders.timm_row import CLIP, HALF, Family, timm_row

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
_SQUARE_BILINEAR = OfficialResize(squash=True, interpolation="bilinear")
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
# TIPS sees pixels in [0, 1].
_RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
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

_ROWS = (
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
    timm_row("tipsv2_vitb14", "vit_base_patch14_reg1_tipsv2.webli", size=(224, 16, 768, 85.7), norm=_RAW, **_TIPSV2),
    timm_row("tipsv2_vitl14", "vit_large_patch14_reg1_tipsv2.webli", size=(224, 16, 1024, 303.2), norm=_RAW, **_TIPSV2),
)

IMAGE_TEXT_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
