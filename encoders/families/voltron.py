"""Voltron: masked autoencoders of video frames conditioned on language, read without language.

Written anew on torch, since the published package cannot be imported on current Python. Two things matter for parity.
Patches attend to the 20 language positions, so without an instruction they still see a constant: what the frozen
language model says of [CLS] and 19 paddings. And the padding mask is applied to query rows, not to keys: a padded
position attends to everything evenly, and is attended to.

Source: Karamcheti et al. 2023, arXiv:2302.12766, section 4; https://github.com/siddk/voltron-robotics
(`models/core/vcond.py`, `vdual.py`, `vgen.py`, `models/util/transformer.py`).

Deviation: V-Dual and V-Gen were trained on a frame and a later one of the same video. An encoder here sees single
images, so both frames are the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.preprocessing import check_images, preprocess
from pvrbench.encoders.readouts.modules import RMSNorm
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.fit import check_fit
from pvrbench.encoders.weights.loading import state_dict

_PATCH = 16
_NUM_LANGUAGE = 20
_LANGUAGE_DIM = 768
_CLS_ID = 101
_NULL_LANGUAGE = "null_language"
# Parts of a checkpoint that only training needs.
_TRAINING_ONLY = ("decoder", "encoder2decoder", "lang2decoder", "mask_token", "ctx_dec_pe", "prefix_mask", "lm.")
_RENAMED = {"img_enc_token": "img_token", "lang_enc_token": "lang_token"}


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "B N D"], row_mask: Float[Tensor, "1 1 N 1"]) -> Float[Tensor, "B N D"]:
        joint: Tensor = self.qkv(x)
        query, key, value = joint.reshape(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mask = row_mask.expand(-1, -1, -1, x.shape[1])
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return x * self.gamma


class _Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 8 * width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N E"]:
        joint: Tensor = self.project(x)
        hidden, gate = joint.chunk(2, dim=-1)
        return hidden * functional.silu(gate)


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.pre_norm_attn = RMSNorm(width)
        self.attn = _Attention(width, num_heads)
        self.layer_scale_attn = _Scale(width)
        self.pre_norm_mlp = RMSNorm(width)
        self.mlp = nn.Sequential(_Gate(width), nn.Identity(), nn.Linear(4 * width, width))
        self.layer_scale_mlp = _Scale(width)

    def forward(self, x: Float[Tensor, "B N D"], row_mask: Float[Tensor, "1 1 N 1"]) -> Float[Tensor, "B N D"]:
        x = x + self.layer_scale_attn(self.attn(self.pre_norm_attn(x), row_mask))
        return x + self.layer_scale_mlp(self.mlp(self.pre_norm_mlp(x)))


class VoltronNetwork(nn.Module):
    """The encoder of V-Cond (one frame), V-Dual and V-Gen (two); parameters are named as published.

    Args:
        width: channels.
        depth: blocks.
        num_heads: attention heads of a block.
        num_frames: 1 or 2.
        grid_side: patches along a side.
    """

    null_language: Tensor

    def __init__(self, *, width: int, depth: int, num_heads: int, num_frames: int, grid_side: int) -> None:
        super().__init__()
        self.num_patches = grid_side**2
        self.num_frames = num_frames
        self.patch2embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, _PATCH, stride=_PATCH)})
        self.encoder_pe = nn.Parameter(torch.zeros(1, self.num_patches, width))
        self.img_token = nn.Parameter(torch.zeros(*([1] * (num_frames + 1)), width))
        self.lang_token = nn.Parameter(torch.zeros(1, 1, width))
        if num_frames == 2:
            self.ctx_enc_pe = nn.Parameter(torch.zeros(1, 2, 1, width))
        self.lang2encoder = nn.Linear(_LANGUAGE_DIM, width)
        self.encoder_blocks = nn.ModuleList(_Block(width, num_heads) for _ in range(depth))
        self.encoder_norm = RMSNorm(width)
        self.register_buffer(_NULL_LANGUAGE, torch.zeros(_NUM_LANGUAGE, _LANGUAGE_DIM))

    def forward(self, frames: Float[Tensor, "B F 3 H W"]) -> Float[Tensor, "B N D"]:
        """Patch tokens of the last frame, after the final normalisation."""
        count = len(frames)
        patches: Tensor = self.patch2embed["proj"](frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        patches = (patches + self.encoder_pe).reshape(count, self.num_frames, self.num_patches, -1)
        if self.num_frames == 2:
            patches = patches + self.ctx_enc_pe
        patches = patches.flatten(1, 2) + self.img_token.reshape(1, 1, -1)
        language: Tensor = self.lang2encoder(self.null_language) + self.lang_token
        tokens = torch.cat([patches, language.expand(count, -1, -1)], dim=1)
        row_mask = torch.zeros(1, 1, tokens.shape[1], 1, device=tokens.device)
        row_mask[:, :, 1 - _NUM_LANGUAGE :] = torch.finfo(tokens.dtype).min
        for block in self.encoder_blocks:
            tokens = block(tokens, row_mask)
        return self.encoder_norm(tokens)[:, -_NUM_LANGUAGE - self.num_patches : -_NUM_LANGUAGE]


class VoltronEncoder:
    """A frozen Voltron network with its preprocessing.

    Args:
        spec: the catalog row.
        network: the network, its weights loaded.
    """

    reentrant = True

    def __init__(self, spec: EncoderSpec, network: VoltronNetwork) -> None:
        self.spec = spec
        self.network = network.eval().requires_grad_(requires_grad=False)
        self._device = "cpu"
        self.digest = digest_of(spec, network)

    @torch.no_grad()
    def encode(self, inputs: Shaped[Tensor, "B ..."]) -> Features:
        """The patch grid of raw frames; two-frame networks are shown each frame twice."""
        check_images(inputs, self.spec.name)
        return self.features(preprocess(inputs.to(self._device), self.spec))

    def features(self, pixels: Float[Tensor, "B 3 S S"]) -> Features:
        """The same of preprocessed pixels, with the gradients that the caller has enabled."""
        tokens: Tensor = self.network(pixels[:, None].expand(-1, self.network.num_frames, -1, -1, -1))
        side = self.spec.grid_side
        return Features(grid=tokens.transpose(1, 2).reshape(len(tokens), -1, side, side))

    def to(self, device: str) -> VoltronEncoder:
        """The encoder with its network on `device`."""
        self.network.to(device)
        self._device = device
        return self


def load(spec: EncoderSpec) -> VoltronEncoder:
    """Builds the network of a row and loads its weights.

    Raises:
        WeightsError: the weights cannot be had or do not fit the architecture.
    """
    network = VoltronNetwork(
        width=spec.feature_dim,
        depth=int(spec.options["depth"]),
        num_heads=int(spec.options["num_heads"]),
        num_frames=int(spec.options["frames"]),
        grid_side=spec.grid_side,
    )
    weights = convert(state_dict(spec))
    check_fit(network.state_dict(), weights, spec)
    network.load_state_dict(weights, strict=True)
    return VoltronEncoder(spec, network)


def convert(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The encoder in a published checkpoint, what only training needs left out; converted tensors stay as they are.

    The language model, `lm.*`, is run once for the constant that stands for no instruction, `null_language`.

    Raises:
        ValueError: the checkpoint has neither.
    """
    kept = {_RENAMED.get(name, name): value for name, value in content.items() if not name.startswith(_TRAINING_ONLY)}
    if _NULL_LANGUAGE not in kept:
        kept[_NULL_LANGUAGE] = _language_of(content)
    return kept


def _language_of(content: Mapping[str, Any]) -> Float[Tensor, "20 768"]:
    model = {name.removeprefix("lm."): value for name, value in content.items() if name.startswith("lm.")}
    if not model:
        raise ValueError(
            f"The checkpoint holds neither the language model (lm.*) nor {_NULL_LANGUAGE!r}, which the patches attend "
            "to. Import the published checkpoint whole."
        )
    tokens = torch.zeros(_NUM_LANGUAGE, dtype=torch.long)
    tokens[0] = _CLS_ID
    return distilbert(model, tokens, num_seen=1)


@torch.no_grad()
def distilbert(weights: Mapping[str, Tensor], tokens: Int[Tensor, " T"], num_seen: int) -> Float[Tensor, "T E"]:
    """The last hidden state of DistilBERT, in which every position attends to the first `num_seen` ones.

    Source: Sanh et al. 2019, arXiv:1910.01108; parameter names as in transformers; 64 channels a head.
    """

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-12)

    words, places = weights["embeddings.word_embeddings.weight"], weights["embeddings.position_embeddings.weight"]
    x = norm(words[tokens] + places[: len(tokens)], "embeddings.LayerNorm")
    depth = len({name.split(".")[2] for name in weights if name.startswith("transformer.layer.")})
    for layer in (f"transformer.layer.{index}" for index in range(depth)):
        query, key, value = (
            linear(x, f"{layer}.attention.{kind}_lin").reshape(len(tokens), -1, 64).transpose(0, 1) for kind in "qkv"
        )
        mixed = functional.scaled_dot_product_attention(query, key[:, :num_seen], value[:, :num_seen])
        attended = linear(mixed.transpose(0, 1).flatten(1), f"{layer}.attention.out_lin")
        x = norm(x + attended, f"{layer}.sa_layer_norm")
        x = norm(
            x + linear(functional.gelu(linear(x, f"{layer}.ffn.lin1")), f"{layer}.ffn.lin2"),
            f"{layer}.output_layer_norm",
        )
    return x
