"""Statistics -> what the page's figures show, as JSON; `template/report.js` draws it."""

from __future__ import annotations

from collections.abc import Sequence

from pvrbench.benchmark.analysis.statistics import Analysis
from pvrbench.benchmark.reporting.cost import Cost
from pvrbench.benchmark.reporting.style import COLOURS, PLOTLY_SYMBOLS, labels_of, styles_of

Json = dict[str, object]


def chart_data(analysis: Analysis, costs: Sequence[Cost]) -> Json:
    """What the figures show."""
    styles = styles_of(analysis)
    labels = labels_of(styles)
    number = {who: index for index, who in enumerate(styles)}
    return {
        "colours": COLOURS,
        "symbols": PLOTLY_SYMBOLS,
        "contenders": [
            {
                "label": labels[who],
                "colour": style.colour,
                "dash": style.plotly_dash,
                "symbol": style.plotly_symbol,
                "is_reference": who.is_reference,
            }
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
