"""Errors of a model's rollouts against the horizon, in latents and as positions that a linear probe reads off them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pvrbench.benchmark.probes.linear import LinearProbe, fit_linear
from pvrbench.benchmark.records.imagination_schema import ErrorCurves
from pvrbench.envs.base import Array
from pvrbench.envs.demos.trajectories import Trajectories
from pvrbench.envs.spec import TaskSpec
from pvrbench.policies.transitions.base import Sequences, Transition, roll_out

CM_PER_M = 100
# Positions whose standard deviation within an episode is smaller, on average, lie still.
MOVES_M = 0.002


@dataclass(frozen=True, slots=True)
class PositionProbe:
    """A linear probe of the positions that move.

    Attributes:
        probe: from flat latents to all coordinates.
        num_positions: positions of three coordinates each.
    """

    probe: LinearProbe
    num_positions: int

    def read(self, latents: Float[Tensor, "*N P D"]) -> Float[Tensor, "*N K 3"]:
        """Positions in metres."""
        size = latents.shape[:-2]
        found = self.probe(latents.reshape(-1, latents.shape[-2] * latents.shape[-1]))
        return found.reshape(*size, self.num_positions, 3)


def position_columns(spec: TaskSpec, privileged: Float[Array, "E N S"]) -> list[int]:
    """Columns of the privileged state that hold named positions which move; none where the task names none.

    What lies still during an episode, such as a goal, would be predicted well by a model that knows nothing.
    """
    motion = np.asarray(privileged.std(axis=1).mean(axis=0))
    return [
        column
        for item in spec.quantities
        if item.unit == "m" and motion[item.start : item.stop].max() > MOVES_M and item.stop - item.start == 3
        for column in range(item.start, item.stop)
    ]


def fit_positions(latents: Float[Tensor, "E N P D"], positions: Float[Tensor, "E N K"]) -> PositionProbe:
    """Fits a probe to the frames of training trajectories; its penalty is cross-validated over trajectories."""
    episodes = torch.arange(len(latents)).repeat_interleave(latents.shape[1])
    targets = positions.flatten(0, 1)
    columns = {str(start): slice(start, start + 3) for start in range(0, targets.shape[1], 3)}
    return PositionProbe(fit_linear(latents.flatten(0, 1).flatten(1), targets, episodes, columns), len(columns))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out trajectories as a model sees them, and what its rollouts are compared with.

    Attributes:
        trajectories: the trajectories.
        sequences: their latents and actions.
        positions: true positions in metres.
        probe: reads positions off latents; None where nothing that is named moves.
        seen: frames before a rollout begins, the same for all models.
        horizon: largest horizon in blocks.
    """

    trajectories: Trajectories
    sequences: Sequences
    positions: Float[Tensor, "E N K"]
    probe: PositionProbe | None
    seen: int
    horizon: int

    @property
    def starts(self) -> Tensor:
        """Frames from which a rollout can be compared with the truth."""
        return torch.arange(self.seen - 1, self.sequences.latents.shape[1] - self.horizon)

    @property
    def ends(self) -> Int[Tensor, "T H"]:
        """For each start the frames that follow it."""
        return self.starts[:, None] + 1 + torch.arange(self.horizon)


def error_curves(model: Transition, held_out: HeldOut) -> tuple[ErrorCurves, ...]:
    """Errors on each held-out trajectory, means over all starts."""
    found: list[ErrorCurves] = []
    trajectories = held_out.trajectories
    for index, (kind, seed) in enumerate(zip(trajectories.kinds, trajectories.seeds, strict=True)):
        predicted = rollouts(model, held_out, index)
        curves = _latent_curves(model, held_out, index, predicted)
        zeros = torch.zeros(held_out.horizon)
        if held_out.probe is not None:
            curves |= _position_curves(held_out.probe, held_out, index, predicted)
        means = {
            name: tuple(float(value) for value in curves.get(name, zeros))
            for name in ErrorCurves.model_fields
            if name not in ("kind", "seed")
        }
        found.append(ErrorCurves(kind=kind, seed=seed, **means))
    return tuple(found)


def rollouts(model: Transition, held_out: HeldOut, index: int) -> Float[Tensor, "T H P D"]:
    """What a model predicts from all starts of a trajectory."""
    latents, actions = held_out.sequences.latents[index], held_out.sequences.actions[index]
    seen = held_out.starts[:, None] + torch.arange(1 - model.history, 1)
    return roll_out(model, latents[seen], actions[seen[:, :-1]], actions[held_out.ends - 1])


def _latent_curves(model: Transition, held_out: HeldOut, index: int, predicted: Tensor) -> dict[str, Tensor]:
    latents, actions = held_out.sequences.latents[index], held_out.sequences.actions[index]
    seen, truth = held_out.starts[:, None] + torch.arange(1 - model.history, 1), latents[held_out.ends]
    one_step, spread = list[Tensor](), [torch.zeros(())]
    for step in range(held_out.horizon):
        blocks = actions[seen + step]
        known = model.predict(latents[seen + step], blocks)
        one_step.append(_distance(known, truth[:, step]).mean())
        if step:
            # The same blocks after the frames that the rollout believes in.
            believed = torch.cat([latents[seen], predicted[:, :step]], dim=1)[:, -model.history :]
            spread.append(_distance(model.predict(believed, blocks), known).mean())
    return {
        "latent": _distance(predicted, truth).mean(dim=0),
        "copied": _distance(latents[held_out.starts][:, None], truth).mean(dim=0),
        "one_step": torch.stack(one_step),
        "spread": torch.stack(spread),
    }


def _position_curves(probe: PositionProbe, held_out: HeldOut, index: int, predicted: Tensor) -> dict[str, Tensor]:
    latents, positions = held_out.sequences.latents[index], held_out.positions[index]
    imagined, encoded = probe.read(predicted), probe.read(latents[held_out.ends])
    copied = probe.read(latents[held_out.starts])[:, None]
    true = positions.reshape(len(positions), -1, 3)[held_out.ends].double()

    def centimetres(first: Tensor, second: Tensor) -> Tensor:
        distances = cast("Tensor", torch.linalg.vector_norm(first - second, dim=-1))
        return CM_PER_M * distances.mean(dim=(0, 2))

    return {
        "state_cm": centimetres(imagined, true),
        "encoded_cm": centimetres(encoded, true),
        "compounded_cm": centimetres(imagined, encoded),
        "copied_cm": centimetres(copied, true),
    }


def _distance(first: Float[Tensor, "*#N P D"], second: Float[Tensor, "*#N P D"]) -> Tensor:
    """Root mean square over tokens and channels, so that latents of any size can be compared."""
    return (first - second).square().mean(dim=(-2, -1)).sqrt()
