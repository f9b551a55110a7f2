"""uint8 RGB -> resized, normalised float: the single implementation."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from pvrbench.encoders.spec import EncoderSpec

# 224 of 256 pixels, the evaluation of ImageNet classifiers and of most robot-learning papers.
DEFAULT_CROP_FRACTION = 7 / 8


def check_images(images: object, name: str) -> None:
    """Refuses anything but raw frames.

    Raises:
        TypeError: the images are not a uint8 tensor `B H W 3`.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        found = f"{images.dtype} tensor" if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"Encoder {name!r} takes raw uint8 RGB in 0..255 and was given a {found}. "
            "Do not scale or normalise images beforehand: the encoder does."
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise TypeError(f"Encoder {name!r} takes images of shape B H W 3 and was given {tuple(images.shape)}.")


def preprocess(images: UInt8[Tensor, "B H W 3"], spec: EncoderSpec) -> Float[Tensor, "B 3 S S"]:
    """Resizes and normalises raw frames for an encoder.

    The whole frame is shown, squashed to the encoder's input square; nothing is cropped away, since the object may
    stand at the edge. `options["preprocessing"] = "official"` does what the authors' evaluation does. Usually the
    shorter side is resized to the input size over `crop_fraction` and the centre is cut out; `spec.official` holds
    what differs. Frames that have the wanted size already are not resampled.

    Args:
        images: raw frames.
        spec: input size, interpolation, crop, mean and standard deviation.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 255
    side = spec.image_size
    if spec.options.get("preprocessing") == "official":
        pixels = _official(pixels, spec)
    else:
        pixels = _resize(pixels, (side, side), spec.interpolation)
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return (pixels - mean) / std


def _official(pixels: Float[Tensor, "B 3 H W"], spec: EncoderSpec) -> Float[Tensor, "B 3 S S"]:
    """The authors' resize and crop; sizes and offsets are rounded as torchvision and timm round them."""
    official, side = spec.official, spec.image_size
    if official.lower_crop_px:
        pixels = _lower_centre(pixels, official.lower_crop_px)
    # A fraction such as 224/232 is no exact binary number; its quotient may fall short of the whole number by a bit.
    resized = math.floor(side / (spec.crop_fraction or DEFAULT_CROP_FRACTION) + 1e-6)
    height, width = pixels.shape[-2:]
    shorter = min(height, width)
    longer_too = (int(resized * height / shorter), int(resized * width / shorter))
    size = (resized, resized) if official.squash else longer_too
    pixels = _resize(pixels, size, official.interpolation or spec.interpolation, antialias=official.antialias)
    top, left = (round((length - side) / 2) for length in size)
    return pixels[..., top : top + side, left : left + side]


def _lower_centre(pixels: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B 3 h w"]:
    left = max(0, math.ceil((pixels.shape[-1] - side) / 2))
    return pixels[..., -side:, left : left + side]


def _resize(
    pixels: Float[Tensor, "B 3 H W"], size: tuple[int, int], interpolation: str, *, antialias: bool = True
) -> Float[Tensor, "B 3 h w"]:
    if pixels.shape[-2:] == size:
        return pixels
    if interpolation == "area":
        return functional.adaptive_avg_pool2d(pixels, size)
    resized = functional.interpolate(pixels, size, mode=interpolation, antialias=antialias, align_corners=False)
    return resized.clamp(0, 1)
