"""The small vision transformer of the zoo: timm's own, run on some or all of its patches."""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from jaxtyping import Bool, Float, Int
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.zoo.pretraining.spec import BackboneSpec


def build_backbone(spec: BackboneSpec) -> VisionTransformer:
    """The network with the initial values of JAX's vision transformers, drawn from torch's global generator.

    Matrices keep the signal's size (Glorot), as in MAE's and Voltron's code: at this width timm's own values are so
    small that all frames start with nearly the same class token. Positions are sines and cosines and are not trained,
    as in MAE, Voltron and MoCo v3 (Chen et al. 2021, arXiv:2104.02057).
    """
    options: dict[str, Any] = spec.architecture
    name = options.pop("model")
    network = cast(
        "VisionTransformer", timm.create_model(name, pretrained=False, num_classes=0, weight_init="jax", **options)
    )
    table = sine_positions(spec.width, spec.grid_side)
    positions = cast("nn.Parameter", network.pos_embed)
    positions.data.copy_(torch.cat([torch.zeros(1, 1, spec.width), table], dim=1))
    positions.requires_grad = False
    return network


def sine_positions(width: int, side: int) -> Float[Tensor, "1 N D"]:
    """Position embedding of a square grid: a quarter of the channels each for sine and cosine of row and column.

    Source: He et al. 2022, MAE, arXiv:2111.06377 (`util/pos_embed.py`).
    """
    frequencies = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    one_way = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = one_way[None].expand(side, -1, -1)
    rows = one_way[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).reshape(1, side * side, width).float()


def patch_tokens(network: VisionTransformer, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
    """Embedded patches with their positions; the table is resampled for pictures of another size."""
    embedded: Tensor = cast("nn.Module", network.patch_embed.proj)(pixels)
    tokens = embedded.flatten(2).transpose(1, 2)
    table = cast("Tensor", network.pos_embed)[:, 1:]
    if table.shape[1] != tokens.shape[1]:
        side = round(table.shape[1] ** 0.5)
        grid = table.transpose(1, 2).reshape(1, -1, side, side)
        resized = functional.interpolate(grid, embedded.shape[-2:], mode="bicubic", align_corners=False)
        table = resized.flatten(2).transpose(1, 2)
    return tokens + table


def class_token(network: VisionTransformer, count: int) -> Float[Tensor, "B 1 D"]:
    """The class token with its position, once for each picture."""
    token = cast("Tensor", network.cls_token) + cast("Tensor", network.pos_embed)[:, :1]
    return token.expand(count, -1, -1)


def run_blocks(
    network: VisionTransformer, tokens: Float[Tensor, "B N D"], mask: Bool[Tensor, "B 1 1 N"] | None = None
) -> Float[Tensor, "B N D"]:
    """All blocks and the final normalisation; `mask` is true for the tokens that may be attended to."""
    for block in cast("Any", network.blocks):
        tokens = block(tokens) if mask is None else block(tokens, attn_mask=mask)
    return cast("nn.Module", network.norm)(tokens)


def encode_pixels(network: VisionTransformer, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
    """Class token and patch tokens of whole pictures."""
    tokens = torch.cat([class_token(network, len(pixels)), patch_tokens(network, pixels)], dim=1)
    return run_blocks(network, tokens)


def pick(tokens: Float[Tensor, "B N D"], index: Int[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
    """The tokens at given places."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
