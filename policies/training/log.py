"""What is kept of a training besides its parameters: losses, failures, and when checkpoints are taken."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

NUM_LOGGED = 50


def checkpoint_updates(num_updates: int, num_checkpoints: int) -> tuple[int, ...]:
    """After which updates parameters are kept, each once; the last one is left to the policy itself."""
    updates = {round(num_updates * position / num_checkpoints) for position in range(1, num_checkpoints)}
    return tuple(sorted(updates - {0, num_updates}))


def failure_of(losses: Float[Tensor, " U"], parameters: Iterable[Tensor]) -> str | None:
    """Why a training failed, None where losses and parameters are finite."""
    diverged = (~torch.isfinite(losses)).nonzero()[:, 0]
    if len(diverged):
        return f"the loss was not finite at update {int(diverged[0])} of {len(losses)}"
    # After the last update no loss was computed.
    if not all(bool(torch.isfinite(part).all()) for part in parameters):
        return "the parameters were not finite after the last update, though the losses were"
    return None


def loss_log(losses: Float[Tensor, " U"], feature_dim: int, failure: str | None) -> dict[str, object]:
    """Losses over the updates, JSON-ready; without them where they are not finite."""
    num_updates = len(losses)
    log: dict[str, object] = {"num_updates": num_updates, "feature_dim": feature_dim}
    if failure is None:
        at = sorted({round(position * (num_updates - 1) / (NUM_LOGGED - 1)) for position in range(NUM_LOGGED)})
        log["updates"] = [int(update) for update in at]
        log["losses"] = [float(losses[update]) for update in at]
        log["final_loss"] = float(losses[-100:].mean())
    return log
