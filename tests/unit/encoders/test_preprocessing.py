"""Raw frames to normalised input: the whole frame by default, the authors' resize and crop on request."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.plan import make_plan
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.timm_backbone import load
from pvrbench.encoders.preprocessing import preprocess
from pvrbench.encoders.spec import EncoderSpec, WeightsSource

SPEC = EncoderSpec(
    name="mine",
    entry_point="pvrbench.encoders.families.timm_backbone:load",
    objective="test",
    image_size=56,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
    options={"model": "resnet18", "seed": 0},
)
OFFICIAL = replace(SPEC, options={**SPEC.options, "preprocessing": "official"})


def frames(height: int, width: int) -> Tensor:
    return torch.randint(
        0, 256, (2, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(height)
    )


def normalised(pixels: Tensor) -> Tensor:
    return reference.normalize(pixels, list(SPEC.mean), list(SPEC.std))


@pytest.mark.parametrize("size", [(100, 100), (60, 120), (120, 60), (40, 40)])
@pytest.mark.parametrize(("fraction", "shorter"), [(None, 64), (1.0, 56), (0.5, 112)])
def test_official_is_the_usual_resize_and_centre_crop(
    size: tuple[int, int], fraction: float | None, shorter: int
) -> None:
    images = frames(*size)
    pixels = images.permute(0, 3, 1, 2).float() / 255
    resized = reference.resize(pixels, [shorter], reference.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    expected = normalised(reference.center_crop(resized, [56, 56]))
    found = preprocess(images, replace(OFFICIAL, crop_fraction=fraction))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_whole_frame_is_shown_by_default() -> None:
    images = frames(60, 120)
    pixels = images.permute(0, 3, 1, 2).float() / 255
    expected = normalised(reference.resize(pixels, [56, 56], reference.InterpolationMode.BICUBIC).clamp(0, 1))
    torch.testing.assert_close(preprocess(images, SPEC), expected, rtol=0, atol=1e-5)
    # A dot at the edge is seen, and is cut away by the official crop.
    blank = torch.zeros(1, 112, 112, 3, dtype=torch.uint8)
    marked = blank.clone()
    marked[:, :4, :4] = 255
    assert not torch.equal(preprocess(marked, SPEC), preprocess(blank, SPEC))
    assert torch.equal(preprocess(marked, OFFICIAL), preprocess(blank, OFFICIAL))


def test_the_option_enters_the_digest_and_with_it_the_cache_key() -> None:
    digests = {load(spec).digest for spec in (SPEC, OFFICIAL, replace(OFFICIAL, crop_fraction=1.0))}
    assert len(digests) == 3


def test_weights_that_timm_hosts_have_timms_crop() -> None:
    spec = replace(OFFICIAL, weights=WeightsSource(uri="timm:resnet18.a1_in1k"))
    assert load(spec).spec.crop_fraction == 0.95
    assert load(replace(spec, crop_fraction=0.9)).spec.crop_fraction == 0.9
    assert load(replace(spec, weights=WeightsSource(uri="hf:a/b/c.pt"))).spec.crop_fraction is None


def test_a_run_says_which_preprocessing_and_plans_it() -> None:
    names = "encoders=[pixels_7,random_resnet18_64,oracle]"
    plan = make_plan(compose_config([names, "baselines=[]", "preprocessing=official"]))
    options = {job.encoder.name: job.encoder.options.get("preprocessing") for job in plan.jobs}
    assert options == {"pixels_7": None, "random_resnet18_64": "official", "oracle": None}
    assert {settings.preprocessing for job in plan.jobs for settings in job.settings.values()} == {"official"}
    assert "pixels_7 see the whole frame: no preprocessing is published for them." in plan.notes
    default = make_plan(compose_config([names, "baselines=[]"]))
    assert all("preprocessing" not in job.encoder.options for job in default.jobs)
    assert "preprocessing" not in ENCODERS["random_resnet18_64"].options
