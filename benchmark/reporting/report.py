"""Records -> figures, tables, Markdown and the page. Works from records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.legacy import inflations, unevaluated
from pvrbench.benchmark.analysis.ranking import (
    curves_csv,
    ranking_csv,
    ranking_json,
    ranking_latex,
    ranking_table,
    text_rows,
)
from pvrbench.benchmark.analysis.statistics import Analysis, analyse
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.cost import cost_rows, costs_of
from pvrbench.benchmark.reporting.figure import draw_figures
from pvrbench.benchmark.reporting.page import page
from pvrbench.benchmark.reporting.protocol import deviations, protocol, provenance, title_of
from pvrbench.common.files import write_atomically


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written.

    Attributes:
        table: the ranking, for the terminal.
        summary: the ranking and its warnings, the protocol and its deviations, JSON-ready.
        warnings: for the reader.
    """

    table: Table
    summary: Mapping[str, object]
    warnings: tuple[str, ...]


def write_report(run_dirs: Sequence[Path], output_dir: Path, look: str | None = None) -> Report:
    """Analyses one or more runs and writes the page, Markdown, figures and tables.

    The files are `report.html`, `report.md`, `curves.csv`, `ranking.csv`, `ranking.tex`, and `curves` and `overall` as
    PNG, SVG and PDF.

    Args:
        run_dirs: the runs.
        output_dir: where the files go.
        look: the look that is reported; None takes the nominal one where there are several.

    Raises:
        ReportError: there are no sound records, or the runs are not comparable.
    """
    records, refused = load_runs(run_dirs, look)
    analysis = analyse(records)
    warnings = (*refused, *analysis.warnings)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / "curves.csv", curves_csv(analysis))
    write_atomically(output_dir / "ranking.csv", ranking_csv(analysis))
    write_atomically(output_dir / "ranking.tex", ranking_latex(analysis))
    draw_figures(analysis, output_dir)
    names = [run_dir.resolve().name for run_dir in run_dirs]
    write_atomically(output_dir / "report.md", markdown(analysis, records, warnings, names))
    videos = [run_dir / "videos" for run_dir in run_dirs]
    write_atomically(output_dir / "report.html", page(analysis, records, warnings, videos, output_dir, names))
    table = ranking_table(analysis)
    table.caption_justify = "left"
    table.caption = "score: area under success against log N, mean over tasks. gain: 0 = proprio, 100 = oracle."
    if warnings:
        table.caption += "\n" + "\n".join(f"warning: {warning}" for warning in warnings)
    summary = {
        **ranking_json(analysis, warnings),
        "protocol": protocol(records),
        "deviations": [item.model_dump() for item in deviations(records)],
    }
    return Report(table, summary, warnings)


def percent(interval: Interval) -> str:
    """`55 [43, 66]`, in percent."""
    return f"{100 * interval.estimate:.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def markdown(
    analysis: Analysis, records: Sequence[CellRecord], warnings: Sequence[str], run_names: Sequence[str] = ()
) -> str:
    """The report as Markdown.

    Args:
        analysis: of the records.
        records: sound and comparable ones.
        warnings: for the reader, shown at the top.
        run_names: names of the runs, for the title.
    """
    lines = [
        f"# {title_of(records, run_names)}",
        "",
        *(f"> **Warning.** {warning}\n" for warning in warnings),
        *(["![Success rate against number of demonstrations](curves.png)", ""] if analysis.points else []),
        "## Ranking",
        "",
        *_rows(text_rows(analysis)),
        "",
        "The score is the area under success against log N, averaged over tasks. A range of ranks such as 1-3 means",
        "that the data do not allow a more exact rank. Contenders are compared by paired differences on identical",
        f"initial states, {analysis.correction}-corrected over all pairs at 5 %. The gain is 0 for proprio and 100 for",
        f"oracle. Brackets are {analysis.intervals}, and",
        "hold for these tasks only.",
        "",
        "## Paired differences",
        "",
        _row(("pair", "difference, points [95 %]", f"p, {analysis.correction}")),
        _row(["---"] * 3),
        *(
            _row(
                (f"{item.first.label} - {item.second.label}", percent(item.difference), f"{item.adjusted_p_value:.3g}")
            )
            for item in analysis.comparisons
        ),
        "",
        *_costs(analysis, records),
        *_legacy(records),
        "## Protocol",
        "",
        *(f"- {key}: {text}" for key, text in protocol(records).items()),
        *(f"- Deviation: {item.text}" for item in deviations(records)),
        "",
        "## Provenance",
        "",
        *(f"- {key}: {text}" for key, text in provenance(records).items()),
    ]
    return "\n".join(lines) + "\n"


def _costs(analysis: Analysis, records: Sequence[CellRecord]) -> list[str]:
    costs = costs_of(analysis, records)
    return ["## Cost", "", *_rows(cost_rows(costs)), ""] if costs else []


def _legacy(records: Sequence[CellRecord]) -> list[str]:
    found = inflations(records)
    if not found:
        not_evaluated = unevaluated(records)
        return ["## Maximum over checkpoints (legacy)", "", not_evaluated, ""] if not_evaluated else []
    return [
        "## Maximum over checkpoints (legacy)",
        "",
        "Older protocols report the best of several evaluations of one training run. That number is too high, because",
        "the checkpoint is chosen on the evaluation episodes. It is shown only for comparison with those protocols.",
        "",
        _row(("encoder · readout", "head", "N", "last update, %", "maximum, %", "inflation, points")),
        _row(["---"] * 6),
        *(
            _row(
                (
                    f"{item.encoder} · {item.readout}",
                    item.head,
                    str(item.num_demos),
                    f"{100 * item.last:.1f}",
                    f"{100 * item.maximum:.1f} (of {item.num_evaluations})",
                    f"{100 * (item.maximum - item.last):.1f}",
                )
            )
            for item in found
        ),
        "",
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; its first row is the header."""
    return [_row(rows[0]), _row(["---"] * len(rows[0])), *(_row(row) for row in rows[1:])]
