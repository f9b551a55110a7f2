"""Records -> outcomes of each contender, aligned by task, seed and initial state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pvrbench.benchmark.analysis.comparison import ReportError
from pvrbench.benchmark.analysis.estimates import log_weights
from pvrbench.benchmark.analysis.layout import Array
from pvrbench.benchmark.records.keys import FROZEN, Cell
from pvrbench.benchmark.records.schema import CellRecord

# Encoders that bound the scale rather than compete.
REFERENCES = ("expert", "oracle", "proprio")


def told_by(text_encoder: str, conditioning: str) -> str:
    """How a policy is told what to do, for readers; empty where it is not."""
    return f"{text_encoder}, {conditioning}" if text_encoder else ""


@dataclass(frozen=True, slots=True, order=True)
class Contender:
    """What is ranked."""

    encoder: str
    readout: str
    head: str
    adaptation: str = FROZEN
    told: str = ""

    @classmethod
    def of(cls, cell: Cell) -> Contender:
        """The contender of a cell."""
        told = told_by(cell.text_encoder, cell.conditioning)
        return cls(cell.encoder, cell.readout, cell.head, cell.adaptation, told)

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        adaptation = "" if self.adaptation == FROZEN else f" · {self.adaptation}"
        name = self.encoder if self.encoder in REFERENCES else f"{self.encoder} · {self.readout}{adaptation}"
        return f"{name} · {self.told}" if self.told else name

    @property
    def is_reference(self) -> bool:
        """Whether it bounds the scale (simulator state, no image) rather than competes."""
        return self.encoder in REFERENCES


class Cube:
    """Success by contender, task, N, seed and initial state.

    Attributes:
        cells: the records of each contender, task and N, by seed.
        contenders: all of them, sorted.
        tasks: names with their camera, sorted.
        num_demos: every N, smallest first.
        seeds: every training seed.
        weights: of each N in the score.
        columns: for each task the column of each initial state, by its reset seed.
        num_states: of the task that has most.

    Raises:
        ReportError: two records are of the same contender, task, N and seed.
    """

    def __init__(self, records: Sequence[CellRecord]) -> None:
        self.cells: dict[tuple[Contender, str, int], dict[int, CellRecord]] = {}
        states: dict[str, set[tuple[int, int]]] = {}
        for record in sorted(records, key=lambda record: record.cell.slug):
            cell = record.cell
            who = Contender.of(cell)
            place = f"{cell.task} ({cell.camera})"
            cells = self.cells.setdefault((who, place, cell.num_demos), {})
            if cell.seed in cells:
                raise ReportError(
                    f"{cell.slug} and {cells[cell.seed].cell.slug} are the same contender, task, N and seed. Report "
                    "them separately."
                )
            cells[cell.seed] = record
            states.setdefault(place, set()).update((episode.index, episode.seed) for episode in record.episodes)
        self.contenders = sorted({key[0] for key in self.cells})
        self.tasks = sorted(states)
        self.num_demos = sorted({key[2] for key in self.cells})
        self.seeds = sorted({seed for cells in self.cells.values() for seed in cells})
        self.weights = log_weights(self.num_demos)
        self.columns = {
            task: {seed: column for column, (_, seed) in enumerate(sorted(found))} for task, found in states.items()
        }
        self.num_states = max(map(len, self.columns.values()), default=0)

    def complete_contenders(self) -> list[Contender]:
        """Those with every task, N and seed of the run."""
        return [
            who
            for who in self.contenders
            if all(
                set(self.cells.get((who, task, number), {})) == set(self.seeds)
                for task in self.tasks
                for number in self.num_demos
            )
        ]

    def cell_outcomes(self, who: Contender, task: str, number: int) -> Array:
        """Success by seed and state; NaN where a state was not evaluated."""
        cells = self.cells[who, task, number]
        values = np.full((len(cells), self.num_states), np.nan)
        for row, (_, record) in enumerate(sorted(cells.items())):
            for episode in record.episodes:
                values[row, self.columns[task][episode.seed]] = episode.success
        return values

    def outcomes(self, who: Contender) -> Array:
        """Success by N, task, seed and state of a complete contender; NaN where a state was not evaluated."""
        return np.stack(
            [np.stack([self.cell_outcomes(who, task, number) for task in self.tasks]) for number in self.num_demos]
        )
