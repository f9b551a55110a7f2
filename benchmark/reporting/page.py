"""Statistics -> one self-contained HTML page: figures to hover and toggle, tables, videos, protocol, provenance.

The page includes its data as JSON, and `template/report.js` draws them with Plotly. The page loads nothing from
elsewhere. Its content security policy allows these two scripts only, whatever the names in the records.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from pvrbench.benchmark.analysis.letters import headline
from pvrbench.benchmark.analysis.statistics import Analysis
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.chart import chart_data
from pvrbench.benchmark.reporting.clip import video_grid
from pvrbench.benchmark.reporting.cost import costs_of
from pvrbench.benchmark.reporting.looks import LooksReport, looks_section
from pvrbench.benchmark.reporting.markup import render, table
from pvrbench.benchmark.reporting.protocol import deviations, encoder_rows, protocol, provenance, title_of
from pvrbench.benchmark.reporting.section import cost, curves, heat, legacy, pairs, ranking, readouts
from pvrbench.benchmark.reporting.style import styles_of


def page(  # noqa: PLR0913 - what is shown, and where
    analysis: Analysis,
    records: Sequence[CellRecord],
    warnings: Sequence[str],
    video_dirs: Sequence[Path],
    page_dir: Path,
    run_names: Sequence[str] = (),
    *,
    looks: LooksReport | None = None,
) -> str:
    """The whole page.

    Args:
        analysis: of the records.
        records: sound and comparable ones.
        warnings: for the reader, shown at the top.
        video_dirs: folders with videos and their descriptions; those that do not exist are skipped.
        page_dir: where the page will be, for links to videos that it does not include.
        run_names: names of the runs, for the title.
        looks: of changed looks, where there are some.
    """
    costs = costs_of(analysis, records)
    sections = [
        ("results", "Success against demonstrations", curves(analysis)),
        ("ranking", "Ranking", ranking(analysis)),
        ("readouts", "Class token or patches", readouts(analysis)),
        ("tasks", "By task", heat(analysis)),
        ("looks", "Changed looks", Markup("") if looks is None else looks_section(looks)),
        ("cost", "Success against cost", cost(costs)),
        ("pairs", "Paired differences", pairs(analysis)),
        ("checkpoints", "Maximum over checkpoints (legacy)", legacy(records)),
        ("videos", "Episodes", video_grid(video_dirs, page_dir, list(styles_of(analysis)))),
        ("protocol", "Protocol", _protocol(records)),
        ("provenance", "Provenance", _provenance(records)),
    ]
    template = files("pvrbench.benchmark.reporting") / "template"
    plotly, script = _plotly(), (template / "report.js").read_text()
    return render(
        "report.html",
        title=title_of(records, run_names),
        counts=_counts(analysis, records),
        headline=headline(analysis),
        style=(template / "report.css").read_text(),
        hashes=f"{_csp_hash(plotly)} {_csp_hash(script)}",
        warnings=warnings,
        sections=[{"name": name, "heading": heading, "body": body} for name, heading, body in sections if body],
        version=records[0].provenance.version,
        data=chart_data(analysis, costs),
        plotly=plotly,
        script=script,
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # pyright: ignore[reportUnknownVariableType]

    return get_plotlyjs()


def _csp_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _counts(analysis: Analysis, records: Sequence[CellRecord]) -> str:
    numbers = sorted({record.cell.num_demos for record in records})
    counts = {
        "contenders": len({point.contender for point in analysis.points if not point.contender.is_reference}),
        "tasks": len({record.cell.task for record in records}),
        "training seeds": len({record.cell.seed for record in records}),
        "episodes": sum(len(record.episodes) for record in records),
    }
    parts = [f"{count} {name if count != 1 else name.removesuffix('s')}" for name, count in counts.items()]
    return " · ".join([*parts[:2], f"N = {', '.join(map(str, numbers))}", *parts[2:]])


def _protocol(records: Sequence[CellRecord]) -> Markup:
    departures = [item.text for item in deviations(records)]
    return render("protocol.html", rows=protocol(records), departures=departures)


def _provenance(records: Sequence[CellRecord]) -> Markup:
    header, *rows = encoder_rows(records)
    encoders = table(header, rows, caption="Encoders, their licences and their pretraining data", first_number=99)
    return render("provenance.html", rows=provenance(records), encoders=encoders)
