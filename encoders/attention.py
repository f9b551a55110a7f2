"""Where the class token of a vision transformer looks: attention of its last block, which libraries do not return."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pvrbench.encoders.base import Encoder


@torch.no_grad()
def class_token_attention(encoder: Encoder, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B heads h w"] | None:
    """Attention of the class token to the patches in the last block, by head; over all tokens it would sum to one.

    Args:
        encoder: the encoder; of timm's vision transformers with plain attention the answer is known.
        images: raw frames.

    Returns:
        The maps, or None for encoders of another kind.
    """
    network: Any = getattr(encoder, "network", None)
    blocks: Any = getattr(network, "blocks", ())
    attention: Any = getattr(blocks[-1], "attn", None) if len(blocks) else None
    parts = ("qkv", "q_norm", "k_norm", "num_heads", "scale")
    # Rotary embeddings turn queries and keys elsewhere.
    has_rope = getattr(network, "rope", None) is not None
    if "class_token" not in encoder.spec.outputs or has_rope or not all(hasattr(attention, part) for part in parts):
        return None
    inputs: list[Tensor] = []

    def keep(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs.append(given[0])

    hook: Any = attention.register_forward_pre_hook(keep)
    try:
        encoder.encode(images)
    finally:
        hook.remove()
    tokens = inputs[0]
    joined: Tensor = attention.qkv(tokens).reshape(*tokens.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(joined[0]), attention.k_norm(joined[1])
    weights = (query[:, :, :1] @ key.transpose(-2, -1) * attention.scale).softmax(dim=-1)
    patches = weights[:, :, 0, network.num_prefix_tokens :]
    side = round(patches.shape[-1] ** 0.5)
    return patches.reshape(*patches.shape[:2], side, side).float().cpu()
