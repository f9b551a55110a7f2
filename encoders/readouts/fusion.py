"""Several frames as one input: the readouts of the last K frames, concatenated or as differences."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


def history_indices(num_steps: int, history: int) -> Int[Tensor, "T K"]:
    """For each step the steps of its last frames, oldest first; before the start the first frame is repeated."""
    steps = torch.arange(num_steps)[:, None] - torch.arange(history - 1, -1, -1)[None]
    return steps.clamp(min=0)


def fuse(history: Float[Tensor, "B K *shape"], mode: Literal["concat", "flare"]) -> Float[Tensor, "B ..."]:
    """Joins the readouts of K frames along the channels.

    `concat` gives all of them, oldest first; `flare` gives the K - 1 differences of neighbours and the last frame.

    Source: Shang et al. 2021, FLARE, arXiv:2101.01857, as in CortexBench (Majumdar et al. 2023, arXiv:2303.18240).
    """
    parts = history
    if mode == "flare":
        parts = torch.cat([history[:, 1:] - history[:, :-1], history[:, -1:]], dim=1)
    return parts.flatten(1, 2)
