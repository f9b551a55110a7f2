"""The published habit of reporting the best of several checkpoints, computed beside the headline, never as it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pvrbench.benchmark.records.schema import CellRecord


@dataclass(frozen=True, slots=True)
class Inflation:
    """What the maximum over checkpoints adds for one encoder, readout and head at one N.

    Attributes:
        encoder: catalog name.
        readout: its readout.
        head: the head.
        num_demos: demonstrations.
        last: mean success of the last updates, in [0, 1].
        maximum: mean over cells of each cell's best evaluation.
        num_evaluations: evaluations of each cell, the last one included.
    """

    encoder: str
    readout: str
    head: str
    num_demos: int
    last: float
    maximum: float
    num_evaluations: int


def inflations(records: Sequence[CellRecord]) -> list[Inflation]:
    """The legacy maximum of every encoder, readout, head and N whose cells were evaluated at several checkpoints."""
    cells: dict[tuple[str, str, str, int], list[CellRecord]] = {}
    for record in records:
        if record.checkpoints:
            cell = record.cell
            cells.setdefault((cell.encoder, cell.readout, cell.head, cell.num_demos), []).append(record)
    found: list[Inflation] = []
    for (encoder, readout, head, num_demos), members in sorted(cells.items()):
        rates = [[score.num_successes / score.num_episodes for score in record.checkpoints] for record in members]
        found.append(
            Inflation(
                encoder,
                readout,
                head,
                num_demos,
                last=fmean(own[-1] for own in rates),
                maximum=fmean(max(own) for own in rates),
                num_evaluations=len(rates[0]),
            )
        )
    return found


def unevaluated(records: Sequence[CellRecord]) -> str:
    """What a maximum over checkpoints that a protocol reports may add, for runs that did not evaluate it."""
    reasons = {item.text for record in records for item in record.settings.deviations if item.of == "checkpoint"}
    return " ".join(["Not evaluated in these runs.", *sorted(reasons)]) if reasons else ""
