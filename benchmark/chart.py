"""Statistics -> what the page's figures show, as JSON; `template/report.js` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmark.records import CellRecord
from benchmark.statistics import Analysis, Contender
from benchmark.style import COLOURS, PLOTLY_SYMBOLS, labels_of, styles_of

COST_AXES: Mapping[str, str] = {
    "ms": "encoder time, ms a frame in a full tile",
    "flops": "encoder operations a frame",
    "frozen": "frozen parameters",
    "trained": "trained parameters of readout and head",
}

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a contender costs, by the names of `COST_AXES`; None where it was not measured or is nothing."""

    contender: Contender
    score: float
    values: Mapping[str, float | None]


def costs_of(analysis: Analysis, records: Sequence[CellRecord]) -> list[Cost]:
    """The costs of all that are ranked. Times are medians over cells, which were measured at different moments."""
    cells: dict[Contender, list[CellRecord]] = {}
    for record in records:
        cell = record.cell
        cells.setdefault(Contender(cell.encoder, cell.readout, cell.head), []).append(record)
    found: list[Cost] = []
    for item in analysis.ranking:
        if item.contender.is_reference:
            continue
        own = cells[item.contender]
        times = [record.timing["encoder_ms_in_tile"] for record in own if "encoder_ms_in_tile" in record.timing]
        cost = own[0].cost
        values = {
            "ms": median(times) if times else None,
            "flops": cost.flops_per_frame,
            "frozen": cost.encoder_params,
            "trained": cost.readout_params + cost.head_params,
        }
        # An axis of ratios has no place for nothing.
        found.append(Cost(item.contender, item.score.estimate, {name: value or None for name, value in values.items()}))
    return found


def measured_axes(costs: Sequence[Cost]) -> dict[str, str]:
    """The cost axes on which anyone has a place."""
    return {name: text for name, text in COST_AXES.items() if any(cost.values[name] for cost in costs)}


def chart_data(analysis: Analysis, costs: Sequence[Cost]) -> Json:
    """What the figures show."""
    styles = styles_of(analysis)
    labels = labels_of(styles)
    number = {who: index for index, who in enumerate(styles)}
    return {
        "colours": COLOURS,
        "symbols": PLOTLY_SYMBOLS,
        "contenders": [
            {"label": labels[who], "colour": style.colour, "dash": style.plotly_dash, "symbol": style.plotly_symbol}
            for who, style in styles.items()
        ],
        "points": [
            {
                "id": number[point.contender],
                "task": point.task,
                "num_demos": point.num_demos,
                "success": point.success.estimate,
                "low": point.success.low,
                "high": point.success.high,
                "num_episodes": point.num_episodes,
            }
            for point in sorted(analysis.points, key=lambda point: (number[point.contender], point.num_demos))
        ],
        "scores": [
            {
                "id": number[item.contender],
                "encoder": item.contender.encoder,
                "readout": labels[item.contender].removeprefix(f"{item.contender.encoder} · "),
                "score": item.score.estimate,
                "low": item.score.low,
                "high": item.score.high,
            }
            for item in analysis.ranking
            if not item.contender.is_reference
        ],
        "costs": [{"id": number[cost.contender], "score": cost.score, **cost.values} for cost in costs],
    }
