"""Stages between a frozen readout and its head: fitted to the training demonstrations, or trained with the head.

Many heads are trained at once by vectorising over stacked parameters. So nothing here updates a buffer, branches on
values or drops units at random, and every parameter is drawn from the generator that is handed in.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_NECK_SIDE = 14
_HEAD_DIM = 32
_CNN_WIDTHS = (32, 64, 64, 64)
_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d)


class Projection(nn.Module):
    """A linear map of the channels, the same at every cell of a grid."""

    def __init__(self, num_inputs: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = _linear(num_inputs, num_outputs, generator, bias=False)

    def forward(self, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Maps `B D ...` to `B E ...`."""
        return torch.einsum("oi,bi...->bo...", self.linear.weight, features)


class PrincipalComponents(nn.Module):
    """Projection on the principal components of the training features. Not whitened: components keep their variance.

    Args:
        train_features: the rows that it is fitted to; no other frame is seen.
        num_components: at most this many; those along which the rows do not vary are zero.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, train_features: Float[Tensor, "T D"], num_components: int) -> None:
        super().__init__()
        mean = train_features.mean(dim=0)
        rows = (train_features - mean).double()
        rank = min(num_components, *train_features.shape)
        # The smaller of the two Gram matrices has the same non-zero spectrum.
        few_rows = rows.shape[0] <= rows.shape[1]
        spectrum = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(rows @ rows.T if few_rows else rows.T @ rows))
        variances = spectrum[0].flip(0)[:rank]
        directions = spectrum[1].flip(1)[:, :rank].T
        if few_rows:
            directions = functional.normalize(directions @ rows, dim=1)
        varies = variances > 1e-10 * variances[:1]
        # A direction is defined up to sign: its largest entry is made positive, whatever the solver gave.
        signs = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
        self.register_buffer("mean", mean)
        self.register_buffer("components", (directions * signs * varies[:, None]).float())

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Coordinates along the components, largest variance first."""
        return (features - self.mean) @ self.components.T


class SpatialSoftmax(nn.Module):
    """1 x 1 convolution to keypoint maps, softmax over positions, expected position (x, y) of each in [-1, 1].

    Source: Finn et al. 2016, arXiv:1509.06113, section IV; 32 keypoints, temperature 1 as in robomimic.
    """

    def __init__(self, num_channels: int, num_keypoints: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = _conv(num_channels, num_keypoints, 1, generator)

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B K2"]:
        """Maps a grid to x and y of every keypoint, interleaved."""
        maps: Tensor = self.conv(grid)
        weights = maps.flatten(2).softmax(dim=2).reshape(maps.shape)
        rows = torch.linspace(-1, 1, maps.shape[2], device=grid.device)
        columns = torch.linspace(-1, 1, maps.shape[3], device=grid.device)
        x = (weights.sum(dim=2) * columns).sum(dim=2)
        y = (weights.sum(dim=3) * rows).sum(dim=2)
        return torch.stack([x, y], dim=2).flatten(1)


class AttentionPooling(nn.Module):
    """One learned query attends to all patches; then a gated feed-forward, both post-normalised.

    Heads are 32 wide: Voltron pools with twice the heads of its encoder, whose heads are 64 wide. Parameters carry
    the names of the official block.

    Source: Karamcheti et al. 2023, Voltron, arXiv:2302.12766, section 5; `MAPBlock` of voltron-robotics.
    """

    def __init__(self, num_channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_heads = num_channels // math.gcd(num_channels, _HEAD_DIM)
        self.projection = _linear(num_channels, num_channels, generator)
        self.latents = nn.Parameter(torch.randn(1, num_channels, generator=generator) * 0.02)
        self.attn_norm = RMSNorm(num_channels)
        self.attn = nn.ModuleDict(
            {
                "q": _linear(num_channels, num_channels, generator, bias=False),
                "kv": _linear(num_channels, 2 * num_channels, generator, bias=False),
                "proj": _linear(num_channels, num_channels, generator),
            }
        )
        self.mlp_norm = RMSNorm(num_channels)
        self.mlp = nn.Sequential(
            _Gate(num_channels, 4 * num_channels, generator),
            _linear(4 * num_channels, num_channels, generator),
        )

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D"]:
        """Maps a grid to one vector."""
        tokens: Tensor = self.projection(grid.flatten(2).transpose(1, 2))
        query: Tensor = self.attn["q"](self.latents).reshape(self.num_heads, -1)
        pairs: Tensor = self.attn["kv"](tokens)
        keys, values = pairs.reshape(*pairs.shape[:2], 2, self.num_heads, -1).unbind(2)
        scores = torch.einsum("hd,bnhd->bhn", query, keys) / query.shape[1] ** 0.5
        pooled = torch.einsum("bhn,bnhd->bhd", scores.softmax(dim=2), values).flatten(1)
        latent: Tensor = self.attn_norm(self.latents + self.attn["proj"](pooled))
        return self.mlp_norm(latent + self.mlp(latent))


class _Gate(nn.Module):
    """SwiGLU: one half of a linear map times the SiLU of the other half."""

    def __init__(self, num_inputs: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.project = _linear(num_inputs, 2 * num_outputs, generator)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        projected: Tensor = self.project(x)
        hidden, gate = projected.chunk(2, dim=-1)
        return hidden * functional.silu(gate)


class RMSNorm(nn.Module):
    """Division by the root mean square, then a learned scale `g`.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467, equation 4; floor and parameter name as in voltron-robotics.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(num_channels))

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Normalises the last dimension."""
        scale = x.square().mean(dim=-1, keepdim=True).sqrt()
        return x / scale.clamp(min=1e-8) * self.g


class ConvNeck(nn.Module):
    """Three convolutions that bring a 14 x 14 grid to 1 x 1 x 256, each with layer normalisation and ReLU.

    Grids of another side are averaged or repeated to 14 x 14 first.

    Source: Shang et al. 2024, Theia, arXiv:2407.20179, the policy head of its CortexBench evaluation.
    """

    def __init__(self, num_channels: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(num_channels, width, 4, generator, stride=2, padding=1),
            nn.LayerNorm([width, 7, 7]),
            nn.ReLU(),
            _conv(width, width, 3, generator, stride=2),
            nn.LayerNorm([width, 3, 3]),
            nn.ReLU(),
            _conv(width, width, 3, generator),
            nn.LayerNorm([width, 1, 1]),
            nn.ReLU(),
            nn.Flatten(),
        )

    def forward(self, grid: Float[Tensor, "B D h w"]) -> Float[Tensor, "B W"]:
        """Maps a grid to one vector."""
        if grid.shape[-2:] != (_NECK_SIDE, _NECK_SIDE):
            grid = functional.adaptive_avg_pool2d(grid, _NECK_SIDE)
        return self.layers(grid)


def compression(shape: tuple[int, int, int], num_outputs: int, generator: torch.Generator) -> nn.Sequential:
    """3 x 3 convolution without bias to so few channels that about `num_outputs` numbers remain, one norm group, ReLU.

    Source: Majumdar et al. 2023, VC-1, arXiv:2303.18240, its compression layer.
    """
    channels, height, width = shape
    num_channels = max(1, round(num_outputs / (height * width)))
    return nn.Sequential(
        _conv(channels, num_channels, 3, generator, padding=1, bias=False),
        nn.GroupNorm(1, num_channels),
        nn.ReLU(),
        nn.Flatten(),
    )


def conv_net(shape: tuple[int, int, int], generator: torch.Generator) -> nn.Sequential:
    """A small network on pixels: 3 x 3 convolutions of stride 2 with ReLU until the side is at most 6, flattened."""
    channels, side, _ = shape
    layers: list[nn.Module] = []
    for width in _CNN_WIDTHS:
        if side <= 6 and layers:
            break
        # He initialisation, since nothing normalises between the layers.
        layers += [_conv(channels, width, 3, generator, stride=2, padding=1, gain=6**0.5), nn.ReLU()]
        channels, side = width, -(-side // 2)
    return nn.Sequential(*layers, nn.Flatten())


def _linear(num_inputs: int, num_outputs: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    return _filled(nn.Linear(num_inputs, num_outputs, bias=bias, device="meta"), generator)


def _conv(  # noqa: PLR0913 - the parameters of a convolution
    num_inputs: int,
    num_outputs: int,
    kernel: int,
    generator: torch.Generator,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    gain: float = 1.0,
) -> nn.Conv2d:
    conv = nn.Conv2d(num_inputs, num_outputs, kernel, stride=stride, padding=padding, bias=bias, device="meta")
    return _filled(conv, generator, gain)


def _filled(module: _Layer, generator: torch.Generator, gain: float = 1.0) -> _Layer:
    """Fills weight and bias uniformly within gain / sqrt(fan in), torch's own default at gain 1."""
    module = module.to_empty(device="cpu")
    bound = gain / math.sqrt(module.weight[0].numel())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
    return module
