"""Statistics -> one self-contained HTML page: figures to hover and toggle, tables, videos, protocol, provenance.

The page carries its data as JSON; `template/report.js` draws them with Plotly. Nothing is requested from anywhere, and
the page's content security policy lets no script run but these two, whatever the names in the records.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from pvrbench.benchmark.analysis.statistics import Analysis
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.chart import chart_data
from pvrbench.benchmark.reporting.clip import video_grid
from pvrbench.benchmark.reporting.cost import costs_of
from pvrbench.benchmark.reporting.markup import definitions, listed, paragraph, table
from pvrbench.benchmark.reporting.protocol import deviations, encoder_rows, protocol, provenance
from pvrbench.benchmark.reporting.section import cost, curves, heat, legacy, pairs, ranking, readouts
from pvrbench.benchmark.reporting.style import styles_of


def page(
    analysis: Analysis,
    records: Sequence[CellRecord],
    warnings: Sequence[str],
    video_dirs: Sequence[Path],
    page_dir: Path,
) -> str:
    """The whole page.

    Args:
        analysis: of the records.
        records: sound and comparable ones.
        warnings: what the reader must know.
        video_dirs: folders with videos and their descriptions; those that do not exist are passed over.
        page_dir: where the page will lie, for links to videos that it does not carry.
    """
    costs = costs_of(analysis, records)
    sections = [
        ("results", "Success against demonstrations", curves(analysis)),
        ("ranking", "Ranking", ranking(analysis)),
        ("readouts", "Class token or patches", readouts(analysis)),
        ("tasks", "By task", heat(analysis)),
        ("cost", "Success against cost", cost(costs)),
        ("pairs", "Paired differences", pairs(analysis)),
        ("checkpoints", "Maximum over checkpoints (legacy)", legacy(records)),
        ("videos", "Episodes", video_grid(video_dirs, page_dir, list(styles_of(analysis)))),
        ("protocol", "Protocol", _protocol(records)),
        ("provenance", "Provenance", _provenance(records)),
    ]
    shown = [(name, title, body) for name, title, body in sections if body]
    template = files("pvrbench.benchmark.reporting") / "template"
    plotly, script = _plotly(), (template / "report.js").read_text()
    return Template((template / "report.html").read_text()).substitute(
        title=escape(f"{records[0].settings.preset}: success against number of demonstrations"),
        lead=escape(_lead(analysis, records)),
        style=(template / "report.css").read_text(),
        hashes=f"{_csp_hash(plotly)} {_csp_hash(script)}",
        navigation=" ".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in shown),
        warnings=_warnings(warnings),
        sections="\n".join(
            f'<section id="{name}" aria-labelledby="{name}-heading"><h2 id="{name}-heading">{escape(heading)}</h2>'
            f"{body}</section>"
            for name, heading, body in shown
        ),
        version=escape(records[0].provenance.version),
        # `<` could end the script element or begin a comment in it.
        data=json.dumps(chart_data(analysis, costs), allow_nan=False).replace("<", "\\u003c"),
        plotly=plotly,
        script=script,
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # pyright: ignore[reportUnknownVariableType]

    return get_plotlyjs()


def _csp_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _lead(analysis: Analysis, records: Sequence[CellRecord]) -> str:
    numbers = sorted({record.cell.num_demos for record in records})
    counts = {
        "contenders": len({point.contender for point in analysis.points if not point.contender.is_reference}),
        "tasks": len({record.cell.task for record in records}),
        "training seeds": len({record.cell.seed for record in records}),
        "episodes": sum(len(record.episodes) for record in records),
    }
    parts = [f"{count} {name if count != 1 else name.removesuffix('s')}" for name, count in counts.items()]
    return " · ".join([*parts[:2], f"N = {', '.join(map(str, numbers))}", *parts[2:]])


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    return f'<section aria-label="Warnings">{"".join(paragraph(text, "warning") for text in warnings)}</section>'


def _protocol(records: Sequence[CellRecord]) -> str:
    departures = deviations(records)
    return definitions(protocol(records)) + (
        f"<h3>Where it departs from its original</h3>{listed([item.text for item in departures])}" if departures else ""
    )


def _provenance(records: Sequence[CellRecord]) -> str:
    header, *rows = encoder_rows(records)
    encoders = table(header, rows, caption="Encoders, their licences and what they were trained on", first_number=99)
    return definitions(provenance(records)) + f"<h3>Encoders</h3>{encoders}"
