"""Records -> figures, tables, Markdown and the page. Works from records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from pvrbench.benchmark.analysis.comparison import load_looks, load_runs
from pvrbench.benchmark.analysis.legacy import inflations, unevaluated
from pvrbench.benchmark.analysis.ranking import (
    curves_csv,
    ranking_csv,
    ranking_json,
    ranking_latex,
    ranking_table,
    text_rows,
)
from pvrbench.benchmark.analysis.shifts import analyse_shifts
from pvrbench.benchmark.analysis.statistics import Analysis, analyse
from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.cost import cost_rows, costs_of
from pvrbench.benchmark.reporting.figure import draw_figures
from pvrbench.benchmark.reporting.looks import LooksReport, draw_looks, looks_csv, looks_json, looks_markdown
from pvrbench.benchmark.reporting.markdown import markdown_row, markdown_table, percent
from pvrbench.benchmark.reporting.page import page
from pvrbench.benchmark.reporting.protocol import deviations, protocol, provenance, title_of
from pvrbench.benchmark.reporting.sheets import write_sheets
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
    PNG, SVG and PDF. Where there are changed looks beside the nominal one, `looks.csv`, `looks.png` and a sheet of
    example pictures of each task stand beside them.

    Args:
        run_dirs: the runs.
        output_dir: where the files go.
        look: the look that is reported; None takes the nominal one where there are several.

    Raises:
        ReportError: there are no sound records, or the runs are not comparable.
    """
    records, refused = load_runs(run_dirs, look)
    by_look = load_looks(run_dirs)
    analysis = analyse(records)
    warnings = (*refused, *analysis.warnings)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / "curves.csv", curves_csv(analysis))
    write_atomically(output_dir / "ranking.csv", ranking_csv(analysis))
    write_atomically(output_dir / "ranking.tex", ranking_latex(analysis))
    draw_figures(analysis, output_dir)
    shown = _looks(by_look, run_dirs, output_dir)
    names = [run_dir.resolve().name for run_dir in run_dirs]
    write_atomically(output_dir / "report.md", markdown(analysis, records, warnings, names, shown))
    videos = [run_dir / "videos" for run_dir in run_dirs]
    write_atomically(
        output_dir / "report.html", page(analysis, records, warnings, videos, output_dir, names, looks=shown)
    )
    table = ranking_table(analysis)
    table.caption_justify = "left"
    table.caption = "score: area under success against log N, mean over tasks. gain: 0 = proprio, 100 = oracle."
    if warnings:
        table.caption += "\n" + "\n".join(f"warning: {warning}" for warning in warnings)
    summary = {
        **ranking_json(analysis, warnings),
        "protocol": protocol(records),
        "deviations": [item.model_dump() for item in deviations(records)],
        "looks": {} if shown is None else looks_json(shown.shifts),
    }
    return Report(table, summary, warnings)


def _looks(
    by_look: Mapping[str, Sequence[CellRecord]], run_dirs: Sequence[Path], output_dir: Path
) -> LooksReport | None:
    """Analyses changed looks and writes their table, figure and sheets; None where there is none."""
    shifts = analyse_shifts(by_look) if by_look else None
    if shifts is None or not shifts.retained:
        return None
    analysis = analyse(by_look[NOMINAL])
    write_atomically(output_dir / "looks.csv", looks_csv(shifts))
    figure = draw_looks(shifts, analysis, output_dir / "looks.png")
    return LooksReport(shifts, analysis, figure, write_sheets([path / "looks" for path in run_dirs], output_dir))


def markdown(
    analysis: Analysis,
    records: Sequence[CellRecord],
    warnings: Sequence[str],
    run_names: Sequence[str] = (),
    looks: LooksReport | None = None,
) -> str:
    """The report as Markdown.

    Args:
        analysis: of the records.
        records: sound and comparable ones.
        warnings: for the reader, shown at the top.
        run_names: names of the runs, for the title.
        looks: of changed looks, where there are some.
    """
    lines = [
        f"# {title_of(records, run_names)}",
        "",
        *(f"> **Warning.** {warning}\n" for warning in warnings),
        *(["![Success rate against number of demonstrations](curves.png)", ""] if analysis.points else []),
        "## Ranking",
        "",
        *markdown_table(text_rows(analysis)),
        "",
        "The score is the area under success against log N, averaged over tasks. A range of ranks such as 1-3 means",
        "that the data do not allow a more exact rank. Contenders are compared by paired differences on identical",
        f"initial states, {analysis.correction}-corrected over all pairs at 5 %. The gain is 0 for proprio and 100 for",
        f"oracle. Brackets are {analysis.intervals}, and",
        "hold for these tasks only.",
        "",
        "## Paired differences",
        "",
        markdown_row(("pair", "difference, points [95 %]", f"p, {analysis.correction}")),
        markdown_row(["---"] * 3),
        *(
            markdown_row(
                (f"{item.first.label} - {item.second.label}", percent(item.difference), f"{item.adjusted_p_value:.3g}")
            )
            for item in analysis.comparisons
        ),
        "",
        *(looks_markdown(looks) if looks is not None else []),
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
    return ["## Cost", "", *markdown_table(cost_rows(costs)), ""] if costs else []


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
        markdown_row(("encoder · readout", "head", "N", "last update, %", "maximum, %", "inflation, points")),
        markdown_row(["---"] * 6),
        *(
            markdown_row(
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
