"""States in one order for all contenders, round by round, until their comparisons are decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pvrbench.benchmark.analysis.cube import Contender
from pvrbench.benchmark.analysis.sequential import (
    Member,
    ending_text,
    families,
    replay,
    state_order,
    state_scores,
)
from pvrbench.benchmark.engine.schedules.base import Round, Stop
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Episode


@dataclass(frozen=True, slots=True)
class Sequential:
    """Ends the evaluation of a contender when each of its comparisons is decided or given up.

    References, and contenders without some cell, are compared with nobody: they are evaluated on all states.

    Attributes:
        num_episodes: planned initial states of each cell.
    """

    num_episodes: int

    def next(self, outcomes: Mapping[Cell, Sequence[Episode]], recorded: Collection[Cell]) -> Round | Stop:
        """The next round; see `RunSchedule`."""
        wanted: dict[Cell, int] = {}
        last: dict[Cell, str] = {}
        for family in families(list(outcomes)):
            more, closed = self._decide(family, outcomes, recorded)
            wanted |= more
            last |= closed
        order = state_order(self.num_episodes)
        episodes: dict[Cell, list[int]] = {}
        for cell, end in wanted.items():
            there = {episode.index for episode in outcomes[cell]}
            missing = [index for index in order[:end] if index not in there]
            if missing and cell not in recorded:
                episodes[cell] = missing
        last = {cell: reason for cell, reason in last.items() if cell not in recorded}
        return Round(episodes, last) if episodes or last else Stop()

    def _decide(
        self,
        family: Mapping[Contender, Member],
        outcomes: Mapping[Cell, Sequence[Episode]],
        recorded: Collection[Cell],
    ) -> tuple[dict[Cell, int], dict[Cell, str]]:
        """How many states cells are to have, and why others end."""
        order = state_order(self.num_episodes)
        compared = {who: member for who, member in family.items() if member.is_compared}
        others = [cell for who, member in family.items() if who not in compared for cell in member.cells]
        found = replay(
            {who: state_scores(member, outcomes, order) for who, member in compared.items()},
            self.num_episodes,
            ended=[who for who, member in compared.items() if any(cell in recorded for cell in member.cells)],
        )
        wanted = dict.fromkeys(others, self.num_episodes)
        last: dict[Cell, str] = {}
        for who, member in compared.items():
            if who in found.endings:
                last |= dict.fromkeys(member.cells, ending_text(found.endings[who], self.num_episodes))
            elif found.next_end is not None:
                wanted |= dict.fromkeys(member.cells, found.next_end)
        return wanted, last
