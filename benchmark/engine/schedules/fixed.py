"""Every cell gets every planned episode, in one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pvrbench.benchmark.engine.schedules.base import Round, Stop
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Episode


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number of episodes that was decided beforehand.

    Attributes:
        num_episodes: initial states of each cell.
    """

    num_episodes: int

    def next(self, outcomes: Mapping[Cell, Sequence[Episode]]) -> Round | Stop:
        """All episodes at first, then none."""
        waiting = {cell: range(self.num_episodes) for cell, episodes in outcomes.items() if not episodes}
        return Round(waiting, dict.fromkeys(waiting, "")) if waiting else Stop()
