"""`check_encoder`: does an encoder keep the promises that the benchmark rests on? Shipped ones and one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pvrbench.common.verdict import Verdict, attempt
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.input_probe import accepted_px, device_of, encode, network_input, network_of

TILE = 4
SIDE_PX = 96
# Whether at the bottom, whether at the right.
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
# From black to white a network sees a span of 1 (unnormalised) to 4.5 (ImageNet's std); these can only be mistakes.
_FAULTY_SPANS = (
    ("inverted", float("-inf"), 0.0),
    ("scaled twice", 0.0, 0.1),
    ("normalised twice", 6.0, 100.0),
    ("not scaled", 100.0, float("inf")),
)


def check_encoder(encoder: Encoder, image_px: int | None = None) -> list[Verdict]:
    """Checks an encoder by calling it on made-up pictures.

    Args:
        encoder: an encoder of modality `image`, on any device.
        image_px: side of the pictures in pixels; without it 96 where the encoder resizes them, else a size that it
            takes.

    Returns:
        A verdict for every promise, in a fixed order; an error inside a check is its problem.
    """
    side = image_px or (SIDE_PX if encoder.spec.image_size else accepted_px(encoder))
    promises: Sequence[tuple[str, Callable[[Encoder, int], str]]] = (
        ("features have the declared fields, one row for each image, float32", _shapes),
        ("features are finite, for black and white images too", _finite),
        ("the same image gives the same features", _deterministic),
        ("an image's features do not depend on its companions or its place in the batch", _independent),
        ("the network is frozen: eval mode, no gradient, buffers unchanged", _frozen),
        ("the input is left as it is", _input_untouched),
        ("float images are refused", _refuses_floats),
        ("images of other than three channels are refused", _refuses_channels),
        ("images are taken from the CPU, wherever the network is", _takes_cpu_images),
        ("features depend on the image", _sensitive),
        ("the image is not flipped: neither for the network nor in the grid", _upright),
        ("red and blue are distinguished, in RGB order", _colour_order),
        ("images are normalised once, as declared", _normalised),
        ("brightness over the whole range matters: nothing is clipped", _range),
    )
    return [Verdict(name, attempt(partial(check, encoder, side))) for name, check in promises]


def pictures(seed: int, count: int = TILE, side: int = SIDE_PX) -> UInt8[Tensor, "B H W 3"]:
    """Smooth coloured pictures, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 3, 6, 6)).astype(np.float32)
    smooth = nn.functional.interpolate(torch.from_numpy(coarse), (side, side), mode="bilinear", align_corners=False)
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _fields(features: Features) -> dict[str, Tensor]:
    found = {name: cast("Tensor | None", getattr(features, name)) for name in ("class_token", "grid", "pooled")}
    return {name: value for name, value in found.items() if value is not None}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _vector(features: Features) -> Tensor:
    return torch.cat([value.flatten(1) for value in _fields(features).values()], dim=1)


def _shapes(encoder: Encoder, side: int) -> str:
    fields = _fields(encode(encoder, pictures(0, side=side)))
    if set(fields) != set(encoder.spec.outputs):
        return f"It declares {_listed(encoder.spec.outputs)} and returns {_listed(fields)}."
    for name, value in fields.items():
        if value.shape[0] != TILE:
            return f"It returns {value.shape[0]} rows of {name} for {TILE} images."
        if value.dtype != torch.float32:
            return f"Its {name} is {value.dtype}, expected float32."
        if value.ndim != (4 if name == "grid" else 2):
            return f"Its {name} has the shape {tuple(value.shape)}, expected {'B D h w' if name == 'grid' else 'B D'}."
    return ""


def _finite(encoder: Encoder, side: int) -> str:
    for value in (0, 127, 255):
        images = torch.full((TILE, side, side, 3), value, dtype=torch.uint8)
        if not torch.isfinite(_vector(encode(encoder, images))).all():
            return f"Features of an image that is {value} everywhere are NaN or infinite."
    return ""


def _deterministic(encoder: Encoder, side: int) -> str:
    first, second = (_vector(encode(encoder, pictures(1, side=side))) for _ in range(2))
    if torch.equal(first, second):
        return ""
    return (
        f"Two calls with the same images give features that differ by up to {float((first - second).abs().max()):.2g}."
    )


def _independent(encoder: Encoder, side: int) -> str:
    images, others = pictures(2, side=side), pictures(3, side=side)
    alone = _vector(encode(encoder, images))[0]
    among = _vector(encode(encoder, torch.cat([others[:2], images[:1], others[3:]])))[2]
    if torch.equal(alone, among):
        return ""
    return f"An image's features change by up to {float((alone - among).abs().max()):.2g} with the rest of the batch."


def _frozen(encoder: Encoder, side: int) -> str:
    network = network_of(encoder)
    vector = _vector(encode(encoder, pictures(4, side=side)))
    if vector.requires_grad:
        return "Features carry a gradient."
    if network is None:
        return ""
    if any(module.training for module in network.modules()):
        return "A part of the network is in train mode."
    if any(parameter.requires_grad for parameter in network.parameters()):
        return "A parameter of the network requires a gradient."
    before = {name: value.clone() for name, value in network.named_buffers()}
    for seed in range(3):
        encode(encoder, pictures(seed, side=side))
    changed = [name for name, value in network.named_buffers() if not torch.equal(value, before[name])]
    return f"Buffers of the network change with use: {', '.join(changed[:3])}." if changed else ""


def _input_untouched(encoder: Encoder, side: int) -> str:
    images = pictures(5, side=side)
    copy = images.clone()
    encode(encoder, images)
    return "" if torch.equal(images, copy) else "The images are changed in place."


def _refuses_floats(encoder: Encoder, side: int) -> str:
    try:
        encode(encoder, pictures(6, side=side).float() / 255)
    except TypeError:
        return ""
    return "Images in [0, 1] are taken without complaint; the contract is raw uint8."


def _refuses_channels(encoder: Encoder, side: int) -> str:
    try:
        encode(encoder, torch.zeros(TILE, side, side, 11, dtype=torch.uint8))
    except TypeError:
        return ""
    return "Images of 11 channels are taken without complaint; the contract is B H W 3."


def _takes_cpu_images(encoder: Encoder, side: int) -> str:
    if device_of(encoder).type == "cpu":
        return ""
    images = pictures(8, side=side)
    there, here = _vector(encode(encoder, images)), _vector(encoder.encode(images))
    return (
        "" if torch.equal(there, here) else "Images on the CPU have other features than the same images on the device."
    )


def _sensitive(encoder: Encoder, side: int) -> str:
    vectors = _vector(encode(encoder, pictures(7, side=side)))
    spread = float((vectors - vectors.mean(dim=0)).abs().max())
    return "" if spread > 1e-6 * (1 + float(vectors.abs().max())) else "All images have the same features."


def _upright(encoder: Encoder, side: int) -> str:
    blank = torch.full((TILE, side, side, 3), 128, dtype=torch.uint8)
    marked = blank.clone()
    third = side // 3
    for row, (bottom, right) in enumerate(_CORNERS):
        y, x = bottom * 2 * third, right * 2 * third
        marked[row, y : y + third, x : x + third] = 250
    shown = network_input(encoder, blank), network_input(encoder, marked)
    if shown[0] is not None and shown[1] is not None:
        # The first picture's mark is at its top left; networks of two frames see it twice.
        way = _way((0, 0), _strongest((shown[1] - shown[0]).abs().sum(dim=1)[0]))
        if way:
            return f"The network is shown the image {way}."
    before, after = encode(encoder, blank).grid, encode(encoder, marked).grid
    if before is None or after is None or min(before.shape[2:]) < 2:
        return ""
    change = (after - before).abs().sum(dim=1)
    # Attention and deep layers spread a mark over the whole grid, so that its strongest corner may be any; a flip shows
    # as the same way in all of the pictures.
    ways = {_way(corner, _strongest(change[row])) for row, corner in enumerate(_CORNERS)}
    way = ways.pop()
    return f"The grid shows the image {way}." if way and not ways else ""


def _strongest(change: Float[Tensor, "h w"]) -> tuple[int, int]:
    """The quarter with the largest change: whether it is at the bottom and whether at the right."""
    height, width = change.shape[0] // 2, change.shape[1] // 2
    quarters = {
        (bottom, right): float(
            change[-height if bottom else 0 :][:height, -width if right else 0 :][:, :width].mean(),
        )
        for bottom, right in _CORNERS
    }
    return max(quarters, key=lambda corner: quarters[corner])


def _way(corner: tuple[int, int], found: tuple[int, int]) -> str:
    """How a picture is flipped whose mark is found in another corner than it was put in, in words."""
    names = ("upside down" if corner[0] != found[0] else "", "mirrored" if corner[1] != found[1] else "")
    return " and ".join(filter(None, names))


def _colour_order(encoder: Encoder, side: int) -> str:
    red = torch.zeros(TILE, side, side, 3, dtype=torch.uint8)
    blue = red.clone()
    red[..., 0], blue[..., 2] = 255, 255
    shown = network_input(encoder, red), network_input(encoder, blue)
    if shown[0] is not None and shown[1] is not None:
        difference = (shown[0] - shown[1]).mean(dim=(0, 2, 3))
        if difference[0] < 0 < difference[2]:
            return "The network is shown blue where red belongs: BGR order."
    first, second = _vector(encode(encoder, red)), _vector(encode(encoder, blue))
    return "" if float((first - second).abs().max()) > 1e-5 else "A red and a blue image have the same features."


def _normalised(encoder: Encoder, side: int) -> str:
    levels: list[Tensor] = []
    for level in (0, 255):
        shown = network_input(encoder, torch.full((TILE, side, side, 3), level, dtype=torch.uint8))
        if shown is None:
            return ""
        levels.append(shown.mean(dim=(0, 2, 3)))
    black, white = levels
    mean, std = torch.tensor(encoder.spec.mean), torch.tensor(encoder.spec.std)
    # An encoder of one's own, without a declared input size, declares no mean and std either.
    is_declared = encoder.spec.image_size > 0
    if (
        is_declared
        and torch.allclose(black, -mean / std, atol=0.02)
        and torch.allclose(white, (1 - mean) / std, atol=0.02)
    ):
        return ""
    span = float((white - black).mean())
    kind = next((name for name, low, high in _FAULTY_SPANS if low <= span < high), "")
    expected = ""
    if not kind and is_declared:
        is_bare = abs(float(black.mean())) < 0.02 and abs(span - 1) < 0.02
        kind = "not normalised" if is_bare else "normalised otherwise"
        expected = f", expected {float((-mean / std).mean()):.3g} and {float(((1 - mean) / std).mean()):.3g}"
    found = f"black is {float(black.mean()):.3g}, white {float(white.mean()):.3g} for the network"
    return f"Images are {kind}: {found}{expected}." if kind else ""


def _range(encoder: Encoder, side: int) -> str:
    levels = torch.tensor([10, 90, 170, 250], dtype=torch.uint8)
    images = levels.view(TILE, 1, 1, 1).expand(TILE, side, side, 3).contiguous()
    vectors = _vector(encode(encoder, images))
    steps = (vectors[1:] - vectors[:-1]).abs().amax(dim=1)
    if float(steps.min()) <= 1e-6 * (1 + float(vectors.abs().max())):
        return "Images of different brightness have the same features: the input is clipped."
    return ""
