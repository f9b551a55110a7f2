"""V-JEPA 2.1: a vision transformer with rotary positions along time, height and width, here on single images.

The network has a path of its own for images: patches of one frame, with a token added that says so. That is what
single frames take, so one frame means an image, not a video of repeated frames.

Source: Bardes et al. 2026, V-JEPA 2.1, arXiv:2603.14482; facebookresearch/vjepa2, `app/vjepa_2_1/models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.preprocessing import check_images, preprocess
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.fit import check_fit
from pvrbench.encoders.weights.loading import state_dict

_PATCH = 16
# Side of the grid in training; positions of other grids are stretched to it.
_TRAINED_SIDE = 16
_NORMS = 4
_EPS = 1e-6


def _rotations(side: int, head_dim: int) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d"]]:
    """Cosine and sine of the angles of each patch: a third of the channels for time, height and width each.

    Thirds are rounded down to even numbers; the channels that are left over are not rotated. Of an image the time is 0.
    """
    part = 2 * (head_dim // 3 // 2)
    rates = 10000 ** -(torch.arange(part // 2) / (part / 2))
    places = torch.arange(side) * (_TRAINED_SIDE - 1) / max(side - 1, 1)
    height, width = places.repeat_interleave(side), places.repeat(side)
    angles = torch.cat([torch.outer(place, rates) for place in (torch.zeros(side**2), height, width)], dim=1)
    angles = functional.pad(angles.repeat_interleave(2, dim=1), (0, head_dim - 3 * part))
    return angles.cos(), angles.sin()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., ::2], x[..., 1::2]
    return x * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self._num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(_rotated(query, cos, sin), _rotated(key, cos, sin), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = _Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, 4 * width))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * width, width))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class VJepaNetwork(nn.Module):
    """The path of images through V-JEPA 2.1, with the parameter names of the published files.

    Args:
        width: channels.
        depth: blocks.
        num_heads: attention heads.
        grid_side: patches along a side.
    """

    def __init__(self, *, width: int, depth: int, num_heads: int, grid_side: int) -> None:
        super().__init__()
        self.patch_embed_img = nn.ModuleDict({"proj": nn.Conv3d(3, width, (1, _PATCH, _PATCH), (1, _PATCH, _PATCH))})
        self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(_Block(width, num_heads) for _ in range(depth))
        # One for each level at which features are read in training; the last is the network's output.
        self.norms_block = nn.ModuleList(nn.LayerNorm(width, eps=_EPS) for _ in range(_NORMS))
        cos, sin = _rotations(grid_side, width // num_heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """Patch tokens after the last normalisation."""
        patches: Tensor = self.patch_embed_img["proj"](images[:, :, None])
        tokens = patches.flatten(2).transpose(1, 2) + self.img_mod_embed
        for block in self.blocks:
            tokens = block(tokens, self.cos, self.sin)
        return self.norms_block[-1](tokens)


class VJepaEncoder:
    """A frozen V-JEPA 2.1 network with its preprocessing.

    Args:
        spec: the catalog row.
        network: the network, its weights loaded.
    """

    reentrant = True

    def __init__(self, spec: EncoderSpec, network: VJepaNetwork) -> None:
        self.spec = spec
        self.network = network.eval().requires_grad_(requires_grad=False)
        self._device = "cpu"
        self.digest = digest_of(spec, network)

    @torch.no_grad()
    def encode(self, inputs: UInt8[Tensor, "B H W 3"]) -> Features:
        """The patch grid of raw frames."""
        check_images(inputs, self.spec.name)
        return self.features(preprocess(inputs.to(self._device), self.spec))

    def features(self, pixels: Float[Tensor, "B 3 S S"]) -> Features:
        """The same of preprocessed pixels, with the gradients that the caller has enabled."""
        tokens: Tensor = self.network(pixels)
        side = self.spec.grid_side
        return Features(grid=tokens.transpose(1, 2).reshape(len(tokens), -1, side, side))

    def to(self, device: str) -> VJepaEncoder:
        """The encoder with its network on `device`."""
        self.network.to(device)
        self._device = device
        return self


def build(spec: EncoderSpec) -> VJepaNetwork:
    """The network of a row, its weights not loaded."""
    return VJepaNetwork(
        width=spec.feature_dim,
        depth=int(spec.options["depth"]),
        num_heads=int(spec.options["num_heads"]),
        grid_side=spec.grid_side,
    )


def load(spec: EncoderSpec) -> VJepaEncoder:
    """Builds the network of a row and loads its weights.

    Raises:
        WeightsError: the weights cannot be had or do not fit the architecture.
    """
    network, weights = build(spec), state_dict(spec)
    check_fit(network.state_dict(), weights, spec)
    network.load_state_dict(weights, strict=True)
    return VJepaEncoder(spec, network)


def convert(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The encoder of a published checkpoint, without the path of videos and the predictor.

    Distilled networks are published as the average of the student, `ema_encoder`.
    """
    encoder = cast("Mapping[str, Tensor]", content["ema_encoder"])
    bare = {name.removeprefix("module.").removeprefix("backbone."): value for name, value in encoder.items()}
    return {name: value for name, value in bare.items() if not name.startswith(("patch_embed.", "video_mod_embed"))}
