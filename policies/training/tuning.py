"""Training a part of the encoder beside readout and head: an optimiser of its own, and shifted frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pvrbench.policies.spec import TrainSettings, Tuning

# Under this name a trained readout holds the part of the encoder that is trained.
ENCODER = "encoder."

_BATCH = 64


def encoder_parameters(readout: nn.Module) -> list[nn.Parameter]:
    """The parameters of a trained readout that belong to the encoder."""
    return [value for name, value in readout.named_parameters() if name.startswith(ENCODER)]


def own_parameters(readout: nn.Module) -> list[nn.Parameter]:
    """The others."""
    return [value for name, value in readout.named_parameters() if not name.startswith(ENCODER)]


class EncoderOptimizer:
    """AdamW for the trained part of an encoder: the learning rate rises linearly, then follows the run's schedule.

    Args:
        parameters: the trained part.
        tuning: peak learning rate, weight decay and warm-up.
        settings: number of updates and schedule.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], tuning: Tuning, settings: TrainSettings) -> None:
        self._optimizer = torch.optim.AdamW(parameters, lr=tuning.learning_rate, weight_decay=tuning.weight_decay)
        num_rising = tuning.warmup * settings.num_updates

        def factor(update: int) -> float:
            rising = min(1.0, (update + 1) / num_rising) if num_rising else 1.0
            progress = torch.tensor(torch.pi * update / settings.num_updates)
            return rising * (float(1 + progress.cos()) / 2 if settings.schedule == "cosine" else 1.0)

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factor)

    def zero_grad(self) -> None:
        """Drops the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One update."""
        self._optimizer.step()
        self._schedule.step()


def read_in_precision(readout: nn.Module, features: Float[Tensor, "B ..."], tuning: Tuning | None) -> Tensor:
    """What a readout gives while it is trained, float32 `B D`; a tuned one computes in the precision of its tuning."""
    if tuning is None or tuning.precision == "float32":
        return readout(features)
    with torch.autocast(features.device.type, torch.bfloat16):
        vectors: Tensor = readout(features)
    return vectors.float()


@torch.no_grad()
def read_all(readout: nn.Module, features: Float[Tensor, "F ..."], rows: Int[Tensor, " T"]) -> Float[Tensor, "T D"]:
    """What a readout gives for some rows, in batches that memory holds."""
    return torch.cat([readout(features[part]) for part in torch.split(rows, _BATCH)])


def random_shift(
    frames: Float[Tensor, "B ..."], shift_px: int, generator: torch.Generator | None
) -> Float[Tensor, "B ..."]:
    """Each frame moved by up to `shift_px` pixels along both axes; its edge is repeated beyond it.

    Source: Kostrikov et al. 2021, DrQ, arXiv:2004.13649 (4 pixels of 84).

    Args:
        frames: pictures `B C H W`; of any form where nothing is shifted.
        shift_px: most pixels; 0 returns the frames.
        generator: on the CPU; None takes torch's global one.
    """
    if shift_px == 0:
        return frames
    count, _, height, width = frames.shape
    moves = torch.randint(-shift_px, shift_px + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + moves[0]).clamp(0, height - 1).to(frames.device)
    columns = (torch.arange(width) + moves[1]).clamp(0, width - 1).to(frames.device)
    which = torch.arange(count, device=frames.device)[:, None, None]
    return frames.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
