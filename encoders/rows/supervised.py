"""Encoders trained on labels: classes, masks or depth. Plain data; all are stock timm networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pvrbench.encoders.spec import EncoderSpec, OfficialResize, WeightsSource
from pvrbench.encoders.timm_row import HALF, IMAGENET, Family, timm_row, with_weights

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
_SAM2: Family = {
    "objective": "promptable segmentation of images and videos, from a masked autoencoder",
    "data": "SA-1B and SA-V",
    "licence": "Apache-2.0",
    "paper": "Ravi et al. 2024, SAM 2, arXiv:2408.00714; weights 2.1",
    "outputs": ("grid",),
    "options": {"headless": True},
    "official": OfficialResize(squash=True, interpolation="bilinear"),
    "crop": 1.0,
}
_DEPTH_ANYTHING: Family = {
    "objective": "depth estimation, from DINOv2",
    "data": "595 thousand rendered pictures, then 62 million photographs with depth of a larger network",
    "licence": "Apache-2.0",
    "paper": "Yang et al. 2024, Depth Anything V2, arXiv:2406.09414",
    "options": {"img_size": 224, "resample": "bicubic_offset"},
    "crop": 1.0,
}


def _sam2(size: str, channels: int, millions: float) -> EncoderSpec:
    model = f"sam2_hiera_{size}.fb_r896_2pt1"
    row = timm_row(f"sam21_hiera_{size}", model, size=(512, 16, channels, millions), norm=IMAGENET, **_SAM2)
    file = f"sam2.1_hiera_{size}.pt"
    source = WeightsSource(
        uri=f"timm:{model}",
        mirrors=(f"https://dl.fbaipublicfiles.com/segment_anything_2/092824/{file}",),
        converter="pvrbench.encoders.weights.checkpoint_format:sam2",
    )
    return replace(row, weights=source)


def _depth_anything(size: str, channels: int, millions: float, **licence: object) -> EncoderSpec:
    columns: Family = {**_DEPTH_ANYTHING, **licence}  # pyright: ignore[reportAssignmentType]
    name = {"s": "Small", "b": "Base"}[size]
    model = f"vit_{name.lower()}_patch14_dinov2.lvd142m"
    row = timm_row(f"depthanything_v2_vit{size}14", model, size=(224, 16, channels, millions), norm=IMAGENET, **columns)
    uri = f"hf:depth-anything/Depth-Anything-V2-{name}/depth_anything_v2_vit{size}.pth"
    return with_weights(row, uri, "depth_anything")


_ROWS = (
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
    _sam2("tiny", 768, 26.8),
    _sam2("base_plus", 896, 68.7),
    _depth_anything("s", 384, 21.6),
    _depth_anything("b", 768, 85.7, licence="CC-BY-NC 4.0", non_commercial=True),
)

SUPERVISED_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
