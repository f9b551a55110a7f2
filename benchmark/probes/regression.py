"""What probes of states and actions share: readouts of frames, and splits by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pvrbench.benchmark.probes.base import Frames, ProbeError, Subject
from pvrbench.encoders.readouts.base import load_readout
from pvrbench.envs.base import Array

# Of the demonstrations, the last ones are held out.
HELD_OUT = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of demonstrations to fit on and to test on.

    Attributes:
        train: rows of the training episodes, evenly spread.
        test: rows of the held-out episodes, evenly spread.
    """

    train: Tensor
    test: Tensor


def split_episodes(frames: Frames, max_frames: int) -> Split:
    """Holds the last fifth of the episodes out.

    Args:
        frames: of all demonstrations.
        max_frames: rows of either part; more are thinned out evenly.

    Raises:
        ProbeError: there are too few episodes.
    """
    episodes: list[int] = sorted({int(episode) for episode in frames.episodes})
    num_test = max(1, round(HELD_OUT * len(episodes)))
    if len(episodes) - num_test < 2:
        raise ProbeError(
            f"A linear probe needs at least 3 demonstrations (2 to fit, 1 to test), and the pool has {len(episodes)}. "
            "Set demo_pool=25."
        )
    is_test: Array = np.isin(frames.episodes, episodes[-num_test:])
    return Split(_thin(np.flatnonzero(~is_test), max_frames), _thin(np.flatnonzero(is_test), max_frames))


def _thin(rows: Array, max_rows: int) -> Tensor:
    step = max(1.0, len(rows) / max_rows)
    return torch.from_numpy(rows[(np.arange(int(len(rows) / step)) * step).astype(np.int64)])


def usable_readouts(subject: Subject) -> tuple[list[str], tuple[str, ...]]:
    """The readouts of which a linear probe can be made, and notes on the others.

    Raises:
        ProbeError: there are none.
    """
    usable: list[str] = []
    notes: list[str] = []
    for name, spec in subject.readouts.items():
        # Fitted to features alone, such as principal components, or nothing at all.
        if spec.raw_grid or spec.trains_on_pixels:
            notes.append(f"{name} is trained with a head; a linear probe reads frozen features, so it is left out")
        else:
            usable.append(name)
    if not usable:
        raise ProbeError(
            f"No readout of {subject.encoder.name!r} can be probed linearly: {', '.join(subject.readouts)} are trained "
            "with a head. Ask for readouts=[mean], class_token, grid4 or grid_pca."
        )
    return usable, tuple(notes)


def read_out(subject: Subject, name: str, train: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """What a head would be given: features behind the stage that is fitted to the training rows.

    Args:
        subject: the encoder on the task.
        name: the readout.
        train: what the readout's frozen stage gave for the training rows.
        others: the same for other rows.

    Returns:
        Vectors of the training rows, then those of the others.
    """
    module: nn.Module | None = load_readout(subject.readouts[name]).fit(train, 0, None)
    parts = [train, *others]
    if module is not None:
        with torch.no_grad():
            parts = [module(part) for part in parts]
    return [part.flatten(1) for part in parts]


def columns_of(quantities: Mapping[str, tuple[int, int]]) -> dict[str, slice]:
    """Where quantities lie when they are put one behind the other."""
    columns: dict[str, slice] = {}
    start = 0
    for name, (first, stop) in quantities.items():
        columns[name] = slice(start, start + stop - first)
        start += stop - first
    return columns
