"""uint8 RGB -> resized, normalised float: the single implementation."""

from __future__ import annotations

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
    stand at the edge. `options["preprocessing"] = "official"` does what most published evaluations do: the shorter
    side is resized to the input size over `crop_fraction` and the centre is cut out. Frames that have the wanted size
    already are not resampled.

    Args:
        images: raw frames.
        spec: input size, interpolation, crop, mean and standard deviation.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 255
    side = spec.image_size
    if spec.options.get("preprocessing") == "official":
        height, width = pixels.shape[-2:]
        shorter = round(side / (spec.crop_fraction or DEFAULT_CROP_FRACTION))
        scale = shorter / min(height, width)
        pixels = _resize(pixels, (max(shorter, int(height * scale)), max(shorter, int(width * scale))), spec)
        top, left = ((length - side) // 2 for length in pixels.shape[-2:])
        pixels = pixels[..., top : top + side, left : left + side]
    else:
        pixels = _resize(pixels, (side, side), spec)
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return (pixels - mean) / std


def _resize(pixels: Float[Tensor, "B 3 H W"], size: tuple[int, int], spec: EncoderSpec) -> Float[Tensor, "B 3 h w"]:
    if pixels.shape[-2:] == size:
        return pixels
    if spec.interpolation == "area":
        return functional.adaptive_avg_pool2d(pixels, size)
    resized = functional.interpolate(pixels, size, mode=spec.interpolation, antialias=True, align_corners=False)
    return resized.clamp(0, 1)
