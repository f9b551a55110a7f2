"""The contract of a transition model, and its rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sequences:
    """Latents of E trajectories of N blocks and T = N + 1 frames, with the actions of each block.

    Attributes:
        latents: of the frames before, between and after the blocks, P tokens of D numbers each.
        actions: all actions of a block, one behind the other.
    """

    latents: Float[Tensor, "E T P D"]
    actions: Float[Tensor, "E N U"]


@runtime_checkable
class Transition(Protocol):
    """A model of what an action block does to the latent of a frame.

    Attributes:
        history: frames that it sees at most.
    """

    history: int

    def predict(self, latents: Float[Tensor, "B F P D"], actions: Float[Tensor, "B F U"]) -> Float[Tensor, "B P D"]:
        """The latent after the last action block.

        Args:
            latents: the last frames, in the order of time; at most `history`.
            actions: the block that follows each of them.
        """
        ...


@torch.no_grad()
def roll_out(
    model: Transition,
    latents: Float[Tensor, "B F P D"],
    past: Float[Tensor, "B F-1 U"],
    actions: Float[Tensor, "B H U"],
) -> Float[Tensor, "B H P D"]:
    """The latents after each of H action blocks, each predicted from the predictions before it.

    Args:
        model: the model.
        latents: the frames known at the start, in the order of time; the last `history` are used.
        past: the blocks between them.
        actions: the blocks that are imagined.
    """
    frames, blocks = latents[:, -model.history :], torch.cat([past, actions[:, :1]], dim=1)[:, -model.history :]
    predicted: list[Tensor] = []
    for step in range(actions.shape[1]):
        if step:
            frames = torch.cat([frames, predicted[-1][:, None]], dim=1)[:, -model.history :]
            blocks = torch.cat([blocks, actions[:, step : step + 1]], dim=1)[:, -model.history :]
        predicted.append(model.predict(frames, blocks))
    return torch.stack(predicted, dim=1)
