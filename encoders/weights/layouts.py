"""The names that transformers gives the tensors of vision transformers, as those of timm.

A layout is a list of patterns. A pattern matches a whole name; what it is replaced by is the name in timm. Query, key
and value lie apart in transformers and together in timm: `#0`, `#1`, `#2` behind a name say which part a tensor is.

Source: https://github.com/huggingface/transformers, `models/{vit,vit_mae,dinov2,clip,siglip}/modeling_*.py`, as of
versions 4; https://github.com/huggingface/pytorch-image-models, `timm/models/vision_transformer.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_WB = r"\.(weight|bias)"
Layout = Sequence[tuple[re.Pattern[str], str]]


def _layout(block: str, patterns: Mapping[str, str], in_blocks: Mapping[str, str]) -> Layout:
    whole = [(re.compile(old), new) for old, new in patterns.items()]
    return whole + [(re.compile(rf"{block}\.(\d+)\.{old}"), rf"blocks.\1.{new}") for old, new in in_blocks.items()]


VIT = _layout(
    r"encoder\.layer",
    {
        r"embeddings\.cls_token": "cls_token",
        r"embeddings\.mask_token": "mask_token",
        r"embeddings\.register_tokens": "register_tokens",
        r"embeddings\.position_embeddings": "pos_embed",
        rf"embeddings\.patch_embeddings\.projection{_WB}": r"patch_embed.proj.\1",
        rf"layernorm{_WB}": r"norm.\1",
    },
    {
        rf"layernorm_before{_WB}": r"norm1.\2",
        rf"layernorm_after{_WB}": r"norm2.\2",
        rf"norm([12]){_WB}": r"norm\2.\3",
        rf"attention\.attention\.query{_WB}": r"attn.qkv.\2#0",
        rf"attention\.attention\.key{_WB}": r"attn.qkv.\2#1",
        rf"attention\.attention\.value{_WB}": r"attn.qkv.\2#2",
        rf"attention\.output\.dense{_WB}": r"attn.proj.\2",
        rf"intermediate\.dense{_WB}": r"mlp.fc1.\2",
        rf"output\.dense{_WB}": r"mlp.fc2.\2",
        rf"mlp\.fc([12]){_WB}": r"mlp.fc\2.\3",
        rf"mlp\.weights_in{_WB}": r"mlp.fc1.\2",
        rf"mlp\.weights_out{_WB}": r"mlp.fc2.\2",
        r"layer_scale([12])\.lambda1": r"ls\2.gamma",
    },
)
"""ViT, DeiT, DINO, the encoder of ViTMAE, and DINOv2 with and without registers."""

CLIP = _layout(
    r"encoder\.layers",
    {
        r"embeddings\.class_embedding": "cls_token",
        r"embeddings\.position_embedding\.weight": "pos_embed",
        rf"embeddings\.patch_embedding{_WB}": r"patch_embed.proj.\1",
        rf"pre_layrnorm{_WB}": r"norm_pre.\1",
        rf"post_layernorm{_WB}": r"norm.\1",
        r"head\.probe": "attn_pool.latent",
        r"head\.attention\.in_proj_(weight|bias)": r"attn_pool.qkv.\1",
        rf"head\.attention\.out_proj{_WB}": r"attn_pool.proj.\1",
        rf"head\.layernorm{_WB}": r"attn_pool.norm.\1",
        rf"head\.mlp\.fc([12]){_WB}": r"attn_pool.mlp.fc\1.\2",
    },
    {
        rf"layer_norm([12]){_WB}": r"norm\2.\3",
        rf"self_attn\.q_proj{_WB}": r"attn.qkv.\2#0",
        rf"self_attn\.k_proj{_WB}": r"attn.qkv.\2#1",
        rf"self_attn\.v_proj{_WB}": r"attn.qkv.\2#2",
        rf"self_attn\.out_proj{_WB}": r"attn.proj.\2",
        rf"mlp\.fc([12]){_WB}": r"mlp.fc\2.\3",
    },
)
"""The image towers of CLIP and SigLIP."""

CHUNKED: Layout = (
    (re.compile(r"blocks\.\d+\.(\d+)\.(.+)"), r"blocks.\1.\2"),
    (re.compile(r"(cls_token|mask_token|register_tokens|pos_embed|(?:patch_embed|norm)\..+)"), r"\1"),
)
"""DINOv2 as its training writes it: the blocks lie in chunks."""

_POOL = "attn_pool.qkv."


def timm_name(name: str, layout: Layout) -> str | None:
    """The name in timm of a tensor, with the part that it is; None if the layout has no such name."""
    for pattern, replacement in layout:
        if (found := pattern.fullmatch(name)) is not None:
            return found.expand(replacement)
    return None


def renamed(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors that a layout names, under their names in timm; parts are joined, others are left out.

    Raises:
        KeyError: of query, key and value some are missing.
    """
    named = {new: value for old, value in tensors.items() if (new := timm_name(old, layout)) is not None}
    found: dict[str, Tensor] = {}
    for name, value in named.items():
        whole, _, part = name.partition("#")
        if part:
            if part == "0":
                found[whole] = torch.cat([named[f"{whole}#{index}"] for index in range(3)])
        elif name.startswith(_POOL):
            # The attention pool has one query of its own.
            kind, width = name.removeprefix(_POOL), len(value) // 3
            found[f"attn_pool.q.{kind}"], found[f"attn_pool.kv.{kind}"] = value[:width], value[width:]
        else:
            found[name] = value
    if "cls_token" in found:
        found["cls_token"] = found["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in found:
        found["pos_embed"] = found["pos_embed"].reshape(1, *found["pos_embed"].shape[-2:])
    return found
