"""The contract of a schedule: outcomes so far in, the next round of episodes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
        reason: why they have no more, as the records of those keep it that do not have all planned episodes. Where
            reasons differ by cell, `Round.last` gives them.
    """

    reason: str = ""


@runtime_checkable
class Schedule(Protocol):
    """Decides which episodes of the cells of one job are run; one is made for each job."""

    def next(self, outcomes: Mapping[Cell, Sequence[Episode]]) -> Round | Stop:
        """The next round.

        Args:
            outcomes: the episodes so far of every cell that is to be evaluated, none for a new one.
        """
        ...


@runtime_checkable
class RunSchedule(Protocol):
    """Decides which episodes of all cells of a run are run, where contenders are compared with one another.

    Its row in the catalog says `spans_run`. The run goes round by round: all jobs of a round are done before the next
    one is asked for. It must be a function of the outcomes alone, so that an interrupted run goes on as if it had not
    been interrupted.
    """

    def next(self, outcomes: Mapping[Cell, Sequence[Episode]], recorded: Collection[Cell]) -> Round | Stop:
        """The next round.

        Args:
            outcomes: the episodes so far of every cell of the run, none for a new one; without cells whose training
                failed.
            recorded: those of them that have their record and get no more episodes.

        Returns:
            A round whose `last` names the cells that get no more: they are recorded with what they have at once.
        """
        ...
