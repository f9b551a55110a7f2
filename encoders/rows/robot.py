"""Rows of the encoders that were trained for robots and are published outside timm. Plain data.

All of them fit stock timm networks; `encoders/weights/checkpoint_format.py` renames their tensors. Every one is shown
raw frames: that R3M and VIP divide by 255 themselves, and that SPA and Theia normalise inside the network, is part of
the preprocessing here. All normalise with the mean and deviation of ImageNet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec, OfficialResize, WeightsSource

_DRIVE = "https://drive.google.com/uc?id="
_BOX = "https://berkeley.box.com/shared/static/"
_S3 = "https://pytorch.s3.amazonaws.com/models/rl/"
_SOUP_ARCHIVE = "https://cmu.box.com/shared/static/rrlrp5g6ynk03io4rj9uzf6nik5urfl6"
_FAIR = "https://dl.fbaipublicfiles.com/eai-vc/"


def _family(converter: str, **columns: object) -> tuple[EncoderSpec, str]:
    """What the rows of one family have in common, and the function of `checkpoint_format` for its files."""
    common = EncoderSpec(
        name="",
        entry_point="pvrbench.encoders.families.timm_backbone:load",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        **columns,  # pyright: ignore[reportArgumentType]
    )
    return common, f"pvrbench.encoders.weights.checkpoint_format:{converter}"


def _row(
    family: tuple[EncoderSpec, str],
    name: str,
    network: Mapping[str, str | int | float],
    size: tuple[int, int, int, float],
    source: WeightsSource,
) -> EncoderSpec:
    """One row.

    Args:
        family: what it shares with others.
        name: catalog name.
        network: timm's architecture (`model`) and how this one differs from it.
        size: input side in pixels, side of the grid, channels, millions of parameters.
        source: where the weights are published.
    """
    common, converter = family
    image_size, grid_side, feature_dim, millions = size
    return dataclasses.replace(
        common,
        name=name,
        image_size=image_size,
        grid_side=grid_side,
        feature_dim=feature_dim,
        num_prefix_tokens=int("class_token" in common.outputs),
        num_params=round(millions * 1e6),
        weights=dataclasses.replace(source, converter=converter),
        options=network,
    )


_R3M = _family(
    "r3m",
    objective="time contrast, video-language alignment and sparsity",
    outputs=("grid",),
    interpolation="bilinear",
    # The mean of the last feature map is R3M's own output.
    default_readout="mean",
    licence="MIT",
    pretraining_data="Ego4D",
    paper="Nair et al. 2022, R3M, arXiv:2203.12601",
)
_VIP = _family(
    "vip",
    objective="value of reaching a goal image",
    outputs=("grid", "pooled"),
    interpolation="bilinear",
    # VIP's own output: the mean of the last feature map through a linear layer.
    default_readout="pooled",
    licence="CC-BY-NC 4.0",
    non_commercial=True,
    pretraining_data="Ego4D",
    paper="Ma et al. 2022, VIP, arXiv:2210.00030",
)
# The authors cut the lower 448 pixels out of 480 x 640 frames and resize them with OpenCV, which does not antialias.
_MVP_RESIZE = OfficialResize(squash=True, interpolation="bilinear", antialias=False, lower_crop_px=448)
_MVP_LICENCE = "none stated (all rights reserved)"
_MVP_HOI = _family(
    "mae",
    objective="masked pixel reconstruction",
    interpolation="bilinear",
    crop_fraction=1.0,
    official=_MVP_RESIZE,
    licence=_MVP_LICENCE,
    non_commercial=True,
    pretraining_data="700 thousand frames of human-object interaction (HOI)",
    paper="Xiao et al. 2022, MVP, arXiv:2203.06173",
)
_MVP_EGO = _family(
    "mae",
    objective="masked pixel reconstruction",
    interpolation="bilinear",
    crop_fraction=1.0,
    official=_MVP_RESIZE,
    licence=_MVP_LICENCE,
    non_commercial=True,
    pretraining_data="4.5 million frames of Ego4D, Epic Kitchens, Something-Something, 100 Days of Hands and ImageNet",
    paper="Radosavovic et al. 2022, MVP, arXiv:2210.03109",
)
_VC1 = _family(
    "mae",
    objective="masked pixel reconstruction",
    licence="CC-BY-NC 4.0",
    non_commercial=True,
    pretraining_data="5.6 million frames of egocentric video (7 sets) and ImageNet",
    paper="Majumdar et al. 2023, VC-1, arXiv:2303.18240",
)
_THEIA = _family(
    "theia",
    # Theia was trained on pictures that were squashed to its input square.
    crop_fraction=1.0,
    official=OfficialResize(squash=True),
    objective="distillation of CLIP, DINOv2 and a supervised ViT",
    licence="The AI Institute, non-commercial research",
    non_commercial=True,
    pretraining_data="ImageNet-1k without labels",
    paper="Shang et al. 2024, Theia, arXiv:2407.20179",
)
_THEIA_5 = (
    dataclasses.replace(_THEIA[0], objective="distillation of CLIP, DINOv2, a supervised ViT, SAM and Depth Anything"),
    _THEIA[1],
)
_SPA = _family(
    "spa",
    crop_fraction=1.0,
    objective="masked multi-view neural rendering",
    licence="MIT",
    pretraining_data="ScanNet, ScanNet++, ADT, S3DIS, Hypersim and DROID",
    paper="Zhu et al. 2024, SPA, arXiv:2410.08208",
)


_MCR = _family(
    "resnet",
    objective="alignment with robot states and actions, and behaviour cloning",
    outputs=("grid",),
    interpolation="bilinear",
    default_readout="mean",
    licence="MIT",
    pretraining_data="DROID",
    # The authors' example leaves the normalisation of their training out.
    paper="Jiang et al. 2024, MCR, arXiv:2410.22325",
)
_STP = _family(
    "mae",
    objective="masked prediction of the present and a future frame",
    licence="none stated (all rights reserved)",
    non_commercial=True,
    pretraining_data="Ego4D",
    paper="Yang et al. 2024, STP, arXiv:2403.05304",
)
_HPR = _family(
    "resnet",
    objective="contrastive with a momentum encoder",
    outputs=("grid",),
    interpolation="bilinear",
    default_readout="mean",
    crop_fraction=1.0,
    official=OfficialResize(squash=True),
    licence="MIT",
    pretraining_data="Homes of New York (HoNY), 13 hours",
    paper="Shafiullah et al. 2023, Dobb-E, arXiv:2311.16098",
)
_SOUP = _family(
    "data4robotics",
    objective="masked pixel reconstruction",
    interpolation="bilinear",
    crop_fraction=1.0,
    official=OfficialResize(squash=True, antialias=False),
    licence="MIT",
    pretraining_data="1 million frames of ImageNet, Ego4D, 100 Days of Hands, Kinetics and RoboNet",
    paper="Dasari et al. 2023, arXiv:2310.09289",
)


def _r3m(depth: int, channels: int, millions: float, drive_id: str, *mirrors: str) -> EncoderSpec:
    source = WeightsSource(uri=f"{_S3}r3m/r3m_{depth}.pt", mirrors=(_DRIVE + drive_id, *mirrors))
    return _row(_R3M, f"r3m_resnet{depth}", {"model": f"resnet{depth}"}, (224, 7, channels, millions), source)


def _theia(size: str, teachers: str, shape: tuple[int, float], revision: str | None = None) -> EncoderSpec:
    uri = f"hf:theaiinstitute/theia-{size}-patch16-224-{teachers}/model.safetensors"
    return _row(
        _THEIA if teachers == "cdiv" else _THEIA_5,
        f"theia_{size}_{teachers}",
        # The epsilon is that of transformers' ViT, which the code of Theia builds on.
        {"model": f"deit_{size}_patch16_224", "norm_eps": 1e-12},
        (224, 14, *shape),
        WeightsSource(uri=uri, revision=revision),
    )


_ROWS = (
    _r3m(18, 512, 11.2, "1A1ic-p4KtYlKXdXHcV2QV0cUzI4kn0u-", "hf:surajnair/r3m-18/pytorch_model.bin"),
    _r3m(34, 512, 21.3, "15bXD3QRhspIRacOKyWPw5y2HpoWUCEnE"),
    _r3m(50, 2048, 23.5, "1Xu0ssuG0N1zjZS54wmWzJ7-nb0-7XzbA", "hf:surajnair/r3m-50/pytorch_model.bin"),
    _row(
        _VIP,
        "vip_resnet50",
        {"model": "resnet50", "num_classes": 1024},
        (224, 7, 2048, 25.6),
        WeightsSource(uri=f"{_S3}vip/model.pt", mirrors=(f"{_DRIVE}1LuCFIV44xTZ0GLmLwk36BRsr9KjCW_yj",)),
    ),
    _row(
        _MVP_HOI,
        "mvp_vits16",
        # 12 heads of 32 channels. The usual small ViT has 6 of 64: its tensors have the same shapes, so it would load.
        {"model": "vit_small_patch16_224", "num_heads": 12},
        (224, 14, 384, 21.7),
        WeightsSource(uri=f"{_BOX}m93ynem558jo8vltlads5rcmnahgsyzr.pth"),
    ),
    _row(
        _MVP_EGO,
        "mvp_vitb16",
        {"model": "vit_base_patch16_224"},
        (224, 14, 768, 85.8),
        WeightsSource(uri=f"{_BOX}0ckepd2ja3pi570z89ogd899cn387yut.pth"),
    ),
    _row(
        _MVP_EGO,
        "mvp_vitl16_256",
        {"model": "vit_large_patch16_224", "img_size": 256},
        (256, 16, 1024, 303.4),
        WeightsSource(uri=f"{_BOX}6p0pc47mlpp4hhwlin2hf035lxlgddxr.pth"),
    ),
    _row(
        _VC1,
        "vc1_vitb16",
        {"model": "vit_base_patch16_224"},
        (224, 14, 768, 85.8),
        WeightsSource(uri=f"{_FAIR}vc1_vitb.pth", mirrors=("hf:facebook/vc1-base/pytorch_model.bin",)),
    ),
    _row(
        _VC1,
        "vc1_vitl16",
        {"model": "vit_large_patch16_224"},
        (224, 14, 1024, 303.3),
        WeightsSource(
            uri="hf:facebook/vc1-large/pytorch_model.bin",
            revision="8a47f311ef3a8e0b3f58e4249700c9c5b36012c9",
            sha256="89d59b6e0fe627ee13dd49011d9e3178fc5749237b3963608213ba210257d79a",
            mirrors=(f"{_FAIR}vc1_vitl.pth",),
        ),
    ),
    _theia("tiny", "cdiv", (192, 5.5)),
    _theia("small", "cdiv", (384, 21.7)),
    _theia("base", "cdiv", (768, 85.8), "08e8af3fbdc5912329c6cf411e7fe7df2f22686f"),
    _theia("tiny", "cddsv", (192, 5.5)),
    _theia("small", "cddsv", (384, 21.7)),
    _theia("base", "cddsv", (768, 85.8), "f251f815f62039c5b099bcd2a3c1a656905d20c7"),
    _row(
        _SPA,
        "spa_vitb16",
        {"model": "vit_base_patch16_224"},
        (224, 14, 768, 85.8),
        WeightsSource(uri="hf:HaoyiZhu/SPA/spa-b.safetensors"),
    ),
    _row(
        _SPA,
        "spa_vitl16",
        {"model": "vit_large_patch16_224"},
        (224, 14, 1024, 303.3),
        WeightsSource(uri="hf:HaoyiZhu/SPA/spa-l.safetensors"),
    ),
    _row(
        _MCR,
        "mcr_resnet50",
        {"model": "resnet50"},
        (224, 7, 2048, 23.5),
        WeightsSource(uri="hf:GqJiang/robots-pretrain-robots/mcr_resnet50.pth"),
    ),
    _row(
        _STP,
        "stp_vitb16",
        {"model": "vit_base_patch16_224"},
        (224, 14, 768, 85.8),
        WeightsSource(uri="hf:yangjiange/STP/stp_vitb_encoder.pth"),
    ),
    _row(
        _HPR,
        "hpr_resnet34",
        {"model": "resnet34"},
        (256, 8, 512, 21.3),
        WeightsSource(uri="hf:notmahi/dobb-e/model.safetensors", mirrors=("hf:notmahi/dobb-e/pytorch_model.bin",)),
    ),
    # Published in an archive: unpack it and import `vit_base/SOUP_1M_DH.pth`.
    _row(
        _SOUP,
        "soup_vitb16",
        {"model": "vit_base_patch16_224"},
        (224, 14, 768, 85.8),
        WeightsSource(uri=_SOUP_ARCHIVE),
    ),
)

ROBOT_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
