"""What contenders cost: time, operations, memory and parameters, as far as the records hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pvrbench.benchmark.analysis.statistics import Analysis, Contender
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.style import labels_of

COST_AXES: Mapping[str, str] = {
    "tile": "encoder, ms per frame in a full batch",
    "alone": "encoder, ms per single frame",
    "flops": "encoder, operations per frame",
    "frozen": "frozen parameters",
    "trained": "trained parameters of readout and head",
    "peak": "encoder, peak memory in MiB",
}

# Where the records keep what was measured.
_TIMINGS: Mapping[str, str] = {"tile": "encoder_ms_in_tile", "alone": "encoder_ms_alone", "peak": "encoder_peak_mib"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a contender costs, by the names of `COST_AXES`; None where it was not measured or is zero."""

    contender: Contender
    score: float
    values: Mapping[str, int | float | None]


def costs_of(analysis: Analysis, records: Sequence[CellRecord]) -> list[Cost]:
    """The costs of all that are ranked. Measured ones are medians over cells, which ran at different moments."""
    cells: dict[Contender, list[CellRecord]] = {}
    for record in records:
        cell = record.cell
        cells.setdefault(Contender.of(cell), []).append(record)
    return [
        Cost(item.contender, item.score.estimate, _values(cells[item.contender]))
        for item in analysis.ranking
        if not item.contender.is_reference
    ]


def _values(records: Sequence[CellRecord]) -> dict[str, int | float | None]:
    cost = records[0].cost
    values: dict[str, int | float | None] = {
        "flops": cost.flops_per_frame,
        "frozen": cost.encoder_params,
        "trained": cost.readout_params + cost.head_params,
    }
    for name, key in _TIMINGS.items():
        measured = [record.timing[key] for record in records if key in record.timing]
        values[name] = median(measured) if measured else None
    # Logarithmic axes have no place for zero.
    return {name: values[name] or None for name in COST_AXES}


def measured_axes(costs: Sequence[Cost]) -> dict[str, str]:
    """The cost axes on which at least one contender was measured."""
    return {name: text for name, text in COST_AXES.items() if any(cost.values[name] for cost in costs)}


def cost_rows(costs: Sequence[Cost]) -> list[tuple[str, ...]]:
    """Header and rows, best score first; no column for what was not measured."""
    axes = measured_axes(costs)
    labels = labels_of(cost.contender for cost in costs)
    rows = [
        (
            labels[cost.contender],
            f"{100 * cost.score:.1f}",
            *(_rounded(cost.values[name]) for name in axes),
        )
        for cost in costs
    ]
    return [("encoder · readout", "score, %", *axes.values()), *rows]


def _rounded(value: int | float | None) -> str:
    """`11.2 G`, `1.5`, or nothing."""
    if value is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
