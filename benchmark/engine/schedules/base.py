"""The contract of a schedule: outcomes so far in, the next round of episodes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Episode


@dataclass(frozen=True, slots=True)
class Round:
    """Episodes to be run next.

    Attributes:
        episodes: positions of initial states by cell, in the order in which they are run.
        last: cells that are recorded as soon as these are over, each with the reason why it gets no more; empty where
            it then has all that were planned.
    """

    episodes: Mapping[Cell, Sequence[int]]
    last: Mapping[Cell, str]


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing more is to be run. Cells that are not recorded yet are recorded with what they have.

    Attributes:
        reason: why, as their records keep it.
    """

    reason: str = ""


@runtime_checkable
class Schedule(Protocol):
    """Decides which episodes are run."""

    def next(self, outcomes: Mapping[Cell, Sequence[Episode]]) -> Round | Stop:
        """The next round.

        Args:
            outcomes: the episodes so far of every cell that is to be evaluated, none for a new one.
        """
        ...
