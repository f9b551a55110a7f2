"""uint8 RGB -> resized, normalised float: the single implementation."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from encoders.spec import EncoderSpec


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
    stand at the edge. `options["preprocessing"] = "official"` takes the shorter side to 8/7 of the input and crops the
    centre, as most published evaluations do. Frames that have the input size already are not resampled.

    Args:
        images: raw frames.
        spec: input size, interpolation, mean and standard deviation.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 255
    if spec.options.get("preprocessing") == "official":
        pixels = _resize(pixels, round(spec.image_size * 8 / 7), spec.interpolation)
        edge = (pixels.shape[-1] - spec.image_size) // 2
        pixels = pixels[..., edge : edge + spec.image_size, edge : edge + spec.image_size]
    else:
        pixels = _resize(pixels, spec.image_size, spec.interpolation)
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return (pixels - mean) / std


def _resize(pixels: Float[Tensor, "B 3 H W"], side: int, interpolation: str) -> Float[Tensor, "B 3 S S"]:
    if pixels.shape[-2:] == (side, side):
        return pixels
    if interpolation == "area":
        return functional.adaptive_avg_pool2d(pixels, side)
    resized = functional.interpolate(pixels, (side, side), mode=interpolation, antialias=True, align_corners=False)
    return resized.clamp(0, 1)
