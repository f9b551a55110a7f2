"""Augmentation of batches on the device, with every number drawn from a generator on the CPU.

A crop that is resized, flipped and blurred is one linear map of rows and one of columns, so each takes two matrix
products for the whole batch. Brightness, contrast, saturation and hue are one affine map of colours.

Deviations from torchvision, on which the papers' code rests: bilinear instead of bicubic resampling, one draw of a
crop's shape instead of ten tries, hue as a rotation in YIQ instead of HSV, a fixed order of the colour operations, and
clipping once at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSettings:
    """How crops are drawn.

    Attributes:
        size_px: side of the result.
        scale: smallest and largest share of the picture's area.
        max_ratio: largest ratio of width to height; the smallest is its inverse.
        flip: probability of a mirror image.
        blur: probability of a Gaussian blur.
        blur_sigma: its smallest and largest width, in pixels of the result.
    """

    size_px: int
    scale: tuple[float, float]
    max_ratio: float = 4 / 3
    flip: float = 0.5
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourSettings:
    """How colours are disturbed.

    Attributes:
        brightness: largest change of the factor.
        contrast: likewise.
        saturation: likewise.
        hue: largest rotation as a share of the circle.
        jitter: probability of the four.
        grey: probability of a grey picture.
        solarise: probability that values above one half are inverted.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    jitter: float = 0.8
    grey: float = 0.2
    solarise: float = 0.0


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, " B"]:
    return torch.rand(count, generator=generator) * (high - low) + low


def random_crop(
    pixels: Float[Tensor, "B 3 H W"], settings: CropSettings, generator: torch.Generator, *, alike: int = 1
) -> Float[Tensor, "B 3 S S"]:
    """A random part of each picture, resized, perhaps mirrored and blurred.

    Args:
        pixels: the pictures.
        settings: how crops are drawn.
        generator: draws them.
        alike: so many pictures in a row are treated alike.

    Source: Szegedy et al. 2015, arXiv:1409.4842 (areas and shapes of crops); Chen et al. 2020, arXiv:2002.05709 (blur).
    """
    count, height, width = len(pixels) // alike, pixels.shape[-2], pixels.shape[-1]
    area = _uniform(count, *settings.scale, generator)
    log_ratio = math.log(settings.max_ratio)
    ratio = _uniform(count, -log_ratio, log_ratio, generator).exp()
    wide, high = ((area * factor).sqrt().clamp(max=1.0) for factor in (ratio, 1 / ratio))
    left, top = ((1 - side) * torch.rand(count, generator=generator) for side in (wide, high))
    mirrored = torch.rand(count, generator=generator) < settings.flip
    sigma = _uniform(count, *settings.blur_sigma, generator)
    sigma = torch.where(torch.rand(count, generator=generator) < settings.blur, sigma, torch.zeros(()))
    rows = _resampling(top * height, high * height, height, settings.size_px)
    columns = _resampling(left * width, wide * width, width, settings.size_px)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    if settings.blur > 0:
        blur = _blurring(sigma, settings.size_px)
        rows, columns = blur @ rows, blur @ columns
    rows, columns = (weights.repeat_interleave(alike, dim=0).to(pixels.device) for weights in (rows, columns))
    return (rows[:, None] @ pixels) @ columns.transpose(1, 2)[:, None]


def _resampling(
    start: Float[Tensor, " B"], length: Float[Tensor, " B"], source_px: int, size_px: int
) -> Float[Tensor, "B S L"]:
    """Weights with which each pixel of the result is made of those of a line; widened where the line is shrunk."""
    step = (length / size_px)[:, None, None]
    centres = start[:, None, None] + (torch.arange(size_px)[None, :, None] + 0.5) * step
    distance = (torch.arange(source_px) + 0.5 - centres.clamp(0.5, source_px - 0.5)).abs()
    weights = (1 - distance / step.clamp(min=1.0)).clamp(min=0.0)
    return weights / weights.sum(dim=2, keepdim=True)


def _blurring(sigma: Float[Tensor, " B"], size_px: int) -> Float[Tensor, "B S S"]:
    places = torch.arange(size_px, dtype=torch.float32)
    distance = (places[:, None] - places[None]).square()
    weights = torch.exp(-distance / (2 * sigma.clamp(min=1e-2)[:, None, None].square()))
    return weights / weights.sum(dim=2, keepdim=True)


def jitter_colours(
    pixels: Float[Tensor, "B 3 H W"], settings: ColourSettings, generator: torch.Generator
) -> Float[Tensor, "B 3 H W"]:
    """Disturbs brightness, contrast, saturation and hue, makes some pictures grey and inverts the lights of others.

    Source: Chen et al. 2020, SimCLR, arXiv:2002.05709, appendix A; solarisation: Grill et al. 2020, arXiv:2006.07733.
    """
    count = len(pixels)
    brightness, contrast, saturation = (
        _uniform(count, max(0.0, 1 - change), 1 + change, generator)
        for change in (settings.brightness, settings.contrast, settings.saturation)
    )
    angle = _uniform(count, -settings.hue, settings.hue, generator) * 2 * math.pi
    is_plain = torch.rand(count, generator=generator) >= settings.jitter
    is_grey = torch.rand(count, generator=generator) < settings.grey
    is_solar = torch.rand(count, generator=generator) < settings.solarise
    one = torch.ones(())
    brightness, contrast, saturation = (torch.where(is_plain, one, v) for v in (brightness, contrast, saturation))
    saturation = torch.where(is_grey, 0 * one, saturation)
    matrix = _saturating(saturation) @ _turning(torch.where(is_plain, 0 * one, angle))
    device = pixels.device
    matrix = (matrix * (brightness * contrast)[:, None, None]).to(device)
    # Contrast pulls towards the mean grey of the brightened picture; grey is left as it is by saturation and hue.
    mean_grey = torch.einsum("c,bchw->b", torch.tensor(_LUMA, device=device), pixels) / pixels[0, 0].numel()
    offset = ((1 - contrast) * brightness).to(device) * mean_grey
    changed = (matrix @ pixels.flatten(2)).reshape(pixels.shape) + offset[:, None, None, None]
    changed = changed.clamp(0, 1)
    return torch.where((is_solar.to(device)[:, None, None, None]) & (changed >= 0.5), 1 - changed, changed)


def _saturating(saturation: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    grey = torch.tensor(_LUMA).expand(3, 3)
    return saturation[:, None, None] * torch.eye(3) + (1 - saturation)[:, None, None] * grey


def _turning(angle: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    """Rotation of the colour plane of YIQ."""
    to_yiq = torch.tensor(_TO_YIQ)
    back = cast("Tensor", torch.linalg.inv(to_yiq))
    turn = torch.zeros(len(angle), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    return back @ turn @ to_yiq
