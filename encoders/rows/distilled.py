"""Encoders distilled from several vision foundation models. Plain data; all are stock timm networks."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec, OfficialResize
from pvrbench.encoders.timm_row import CLIP, IMAGENET, Family, timm_row, with_weights

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
_EUPE: Family = {
    "objective": "distillation of several vision foundation models",
    "licence": "FAIR Noncommercial Research License",
    "data": "LVD-1689M",
    "paper": "EUPE 2026, arXiv:2603.22387",
    "prefix": 5,
    "options": {"img_size": 224, "global_pool": "token", "rope_periods": "bfloat16"},
    "non_commercial": True,
    "official": OfficialResize(squash=True, interpolation="bilinear"),
    "crop": 1.0,
}


def _cradio(name: str, model: str, repo: str, size: tuple[int, float], **family: object) -> EncoderSpec:
    channels, millions = size
    columns: Family = {**_CRADIO, **family}  # pyright: ignore[reportAssignmentType]
    row = timm_row(name, model, size=(224, 14, channels, millions), norm=CLIP, **columns)
    return with_weights(row, f"hf:nvidia/{repo}/model.safetensors", "radio")


_ROWS = (
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
)

DISTILLED_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
