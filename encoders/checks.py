"""`check_encoder`: does an encoder keep the promises that the benchmark rests on? Shipped ones and one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from encoders.base import Encoder, Features

TILE = 4
SIDE_PX = 96


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise and whether it was kept.

    Attributes:
        name: the promise, in words.
        problem: what was found instead; empty where it was kept.
    """

    name: str
    problem: str

    @property
    def is_kept(self) -> bool:
        """Whether nothing was found."""
        return not self.problem


def check_encoder(encoder: Encoder) -> list[Verdict]:
    """Checks an encoder by calling it on made-up pictures.

    Args:
        encoder: an encoder of modality `image`, on the CPU.

    Returns:
        A verdict for every promise, in a fixed order; an error inside a check is its problem.
    """
    promises: Sequence[tuple[str, Callable[[Encoder], str]]] = (
        ("features have the declared fields, one row for each image, float32", _shapes),
        ("features are finite, for black and white images too", _finite),
        ("the same image gives the same features", _deterministic),
        ("an image's features do not depend on its companions", _independent),
        ("the network is frozen: eval mode, no gradient, buffers unchanged", _frozen),
        ("the input is left as it is", _input_untouched),
        ("float images are refused", _refuses_floats),
        ("features depend on the image", _sensitive),
        ("features depend on where things are, if there is a grid: it is not flipped", _upright),
        ("red and blue are told apart in RGB order", _colour_order),
        ("brightness over the whole range matters: no double normalisation, no clipping", _range),
    )
    return [Verdict(name, _attempt(check, encoder)) for name, check in promises]


def _attempt(check: Callable[[Encoder], str], encoder: Encoder) -> str:
    try:
        return check(encoder)
    except Exception as error:  # noqa: BLE001 - a promise broken by an error is what is looked for
        return f"{type(error).__name__}: {error}"


def pictures(seed: int, count: int = TILE, side: int = SIDE_PX) -> UInt8[Tensor, "B H W 3"]:
    """Smooth coloured pictures, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 3, 6, 6)).astype(np.float32)
    smooth = nn.functional.interpolate(torch.from_numpy(coarse), (side, side), mode="bilinear", align_corners=False)
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _fields(features: Features) -> dict[str, Tensor]:
    found = {name: cast("Tensor | None", getattr(features, name)) for name in ("class_token", "grid", "pooled")}
    return {name: value for name, value in found.items() if value is not None}


def _vector(features: Features) -> Tensor:
    return torch.cat([value.flatten(1) for value in _fields(features).values()], dim=1)


def _shapes(encoder: Encoder) -> str:
    fields = _fields(encoder.encode(pictures(0)))
    if set(fields) != set(encoder.spec.outputs):
        return f"declares {sorted(encoder.spec.outputs)} and returns {sorted(fields)}"
    for name, value in fields.items():
        if value.shape[0] != TILE:
            return f"{name} has {value.shape[0]} rows for {TILE} images"
        if value.dtype != torch.float32:
            return f"{name} is {value.dtype}, expected float32"
        if value.ndim != (4 if name == "grid" else 2):
            return f"{name} has shape {tuple(value.shape)}"
    return ""


def _finite(encoder: Encoder) -> str:
    for value in (0, 127, 255):
        images = torch.full((TILE, SIDE_PX, SIDE_PX, 3), value, dtype=torch.uint8)
        if not torch.isfinite(_vector(encoder.encode(images))).all():
            return f"NaN or infinity for an image of {value}"
    return ""


def _deterministic(encoder: Encoder) -> str:
    first, second = (_vector(encoder.encode(pictures(1))) for _ in range(2))
    return "" if torch.equal(first, second) else f"two calls differ by up to {float((first - second).abs().max()):.2g}"


def _independent(encoder: Encoder) -> str:
    images, others = pictures(2), pictures(3)
    alone = _vector(encoder.encode(images))[0]
    among = _vector(encoder.encode(torch.cat([others[:2], images[:1], others[3:]])))[2]
    if torch.equal(alone, among):
        return ""
    return f"features change by up to {float((alone - among).abs().max()):.2g} with the other images of the batch"


def _frozen(encoder: Encoder) -> str:
    network = cast("object", getattr(encoder, "network", None) or getattr(encoder, "_function", None))
    vector = _vector(encoder.encode(pictures(4)))
    if vector.requires_grad:
        return "features carry a gradient"
    if not isinstance(network, nn.Module):
        return ""
    if any(module.training for module in network.modules()):
        return "a part of the network is in train mode"
    if any(parameter.requires_grad for parameter in network.parameters()):
        return "a parameter requires a gradient"
    before = {name: value.clone() for name, value in network.named_buffers()}
    for seed in range(3):
        encoder.encode(pictures(seed))
    changed = [name for name, value in network.named_buffers() if not torch.equal(value, before[name])]
    return f"buffers change with use: {', '.join(changed[:3])}" if changed else ""


def _input_untouched(encoder: Encoder) -> str:
    images = pictures(5)
    copy = images.clone()
    encoder.encode(images)
    return "" if torch.equal(images, copy) else "the images are changed in place"


def _refuses_floats(encoder: Encoder) -> str:
    try:
        encoder.encode(pictures(6).float() / 255)
    except TypeError:
        return ""
    return "images in [0, 1] are taken without complaint; raw uint8 is the contract"


def _sensitive(encoder: Encoder) -> str:
    vectors = _vector(encoder.encode(pictures(7)))
    spread = float((vectors - vectors.mean(dim=0)).abs().max())
    return "" if spread > 1e-6 * (1 + float(vectors.abs().max())) else "all images have the same features"


def _upright(encoder: Encoder) -> str:
    blank = torch.full((TILE, SIDE_PX, SIDE_PX, 3), 128, dtype=torch.uint8)
    marked = blank.clone()
    third = SIDE_PX // 3
    for row, (top, left) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        y, x = top * 2 * third, left * 2 * third
        marked[row, y : y + third, x : x + third] = 250
    before, after = encoder.encode(blank).grid, encoder.encode(marked).grid
    if before is None or after is None or min(before.shape[2:]) < 2:
        return ""
    change = (after - before).abs().sum(dim=1)
    height, width = change.shape[1] // 2, change.shape[2] // 2
    for row, (top, left) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        quadrants = {
            (a, b): float(change[row, -height if a else 0 :, :][:height, -width if b else 0 :][:, :width].mean())
            for a in (0, 1)
            for b in (0, 1)
        }
        # Global attention spreads a mark over the whole grid; a flip shows as the mark being strongest elsewhere in
        # every one of the four pictures.
        if max(quadrants, key=lambda where: quadrants[where]) == (top, left):
            return ""
    return "a mark in a corner of the image never is strongest in that corner of the grid: it seems flipped"


def _colour_order(encoder: Encoder) -> str:
    red = torch.zeros(TILE, SIDE_PX, SIDE_PX, 3, dtype=torch.uint8)
    blue = red.clone()
    red[..., 0], blue[..., 2] = 255, 255
    first, second = _vector(encoder.encode(red)), _vector(encoder.encode(blue))
    return "" if float((first - second).abs().max()) > 1e-5 else "a red and a blue image have the same features"


def _range(encoder: Encoder) -> str:
    levels = torch.tensor([10, 90, 170, 250], dtype=torch.uint8)
    images = levels.view(TILE, 1, 1, 1).expand(TILE, SIDE_PX, SIDE_PX, 3).contiguous()
    vectors = _vector(encoder.encode(images))
    steps = (vectors[1:] - vectors[:-1]).abs().amax(dim=1)
    if float(steps.min()) <= 1e-6 * (1 + float(vectors.abs().max())):
        return "images of different brightness have the same features: the input is clipped or scaled twice"
    return ""
