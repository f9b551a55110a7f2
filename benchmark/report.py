"""Records -> ranking table, success-vs-N figure, CSV and Markdown. Works from records alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmark.comparison import load_runs
from benchmark.estimates import Interval
from benchmark.legacy import inflations
from benchmark.records import CellRecord, write_atomically
from benchmark.statistics import Analysis, Contender, CurvePoint, analyse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by the colour-blind; references are grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
REFERENCE_STYLE: Mapping[str, str] = {"oracle": "--", "proprio": ":", "constant": "-."}


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written.

    Attributes:
        table: the ranking, for the terminal.
        summary: the ranking and its warnings, JSON-ready.
        warnings: what the reader must know.
    """

    table: Table
    summary: Mapping[str, object]
    warnings: tuple[str, ...]


def write_report(run_dirs: Sequence[Path], output_dir: Path) -> Report:
    """Analyses one or more runs and writes `report.md`, `curves.csv`, `ranking.csv`, `curves.png` and `curves.svg`.

    Raises:
        ReportError: there are no sound records, or the runs must not be compared.
    """
    records, refused = load_runs(run_dirs)
    analysis = analyse(records)
    warnings = (*refused, *analysis.warnings)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / "curves.csv", curves_csv(analysis))
    write_atomically(output_dir / "ranking.csv", ranking_csv(analysis))
    draw_curves(analysis, output_dir)
    write_atomically(output_dir / "report.md", markdown(analysis, records, warnings))
    return Report(terminal_table(analysis, warnings), summary(analysis, warnings), warnings)


def percent(interval: Interval) -> str:
    """`55 [43, 66]`, in percent."""
    return f"{100 * interval.estimate:.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def ranks(best: int, worst: int) -> str:
    """`2-4`, or `1` where one rank alone is possible."""
    return str(best) if best == worst else f"{best}-{worst}"


def ranking_rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """Rank set, name, head, score and gain of every contender and reference, best score first."""
    return [
        (
            "ref." if item.contender.is_reference else ranks(item.best_rank, item.worst_rank),
            item.contender.label,
            item.contender.head,
            percent(item.score),
            "" if item.gain is None else f"{100 * item.gain:.0f}",
        )
        for item in analysis.ranking
    ]


HEADER = ("rank", "encoder · readout", "head", "score, % [95 %]", "gain, %")


def terminal_table(analysis: Analysis, warnings: Sequence[str]) -> Table:
    """The ranking for the terminal; warnings stand below it."""
    caption = "score: area under success against log N, mean over tasks. gain: 0 = proprio, 100 = oracle."
    if warnings:
        caption += "\n" + "\n".join(f"warning: {warning}" for warning in warnings)
    table = Table(*HEADER, title="Ranking", caption=caption, caption_justify="left", title_justify="left")
    for row in ranking_rows(analysis):
        table.add_row(*row)
    return table


def summary(analysis: Analysis, warnings: Sequence[str]) -> dict[str, object]:
    """The ranking and the paired comparisons, JSON-ready."""
    return {
        "ranking": [
            {
                "encoder": item.contender.encoder,
                "readout": item.contender.readout,
                "head": item.contender.head,
                "is_reference": item.contender.is_reference,
                "score": item.score.estimate,
                "low": item.score.low,
                "high": item.score.high,
                "best_rank": item.best_rank,
                "worst_rank": item.worst_rank,
                "gain": item.gain,
            }
            for item in analysis.ranking
        ],
        "comparisons": [
            {
                "first": item.first.label,
                "second": item.second.label,
                "difference": item.difference.estimate,
                "low": item.difference.low,
                "high": item.difference.high,
                "p_value": item.p_value,
                "holm_p_value": item.adjusted_p_value,
            }
            for item in analysis.comparisons
        ],
        "warnings": list(warnings),
    }


def curves_csv(analysis: Analysis) -> str:
    """One row for each contender, task and N; task `all` is the mean over tasks."""
    header = ("encoder", "readout", "head", "task", "num_demos", "success", "low", "high", "num_episodes")
    return _csv(
        header,
        [
            (
                *_names(point.contender),
                point.task or "all",
                point.num_demos,
                f"{point.success.estimate:.6f}",
                f"{point.success.low:.6f}",
                f"{point.success.high:.6f}",
                point.num_episodes,
            )
            for point in analysis.points
        ],
    )


def ranking_csv(analysis: Analysis) -> str:
    """One row for each contender and reference."""
    header = ("encoder", "readout", "head", "is_reference", "score", "low", "high", "best_rank", "worst_rank", "gain")
    return _csv(
        header,
        [
            (
                *_names(item.contender),
                item.contender.is_reference,
                f"{item.score.estimate:.6f}",
                f"{item.score.low:.6f}",
                f"{item.score.high:.6f}",
                item.best_rank,
                item.worst_rank,
                "" if item.gain is None else f"{item.gain:.6f}",
            )
            for item in analysis.ranking
        ],
    )


def _names(contender: Contender) -> tuple[str, str, str]:
    return contender.encoder, contender.readout, contender.head


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def markdown(analysis: Analysis, records: Sequence[CellRecord], warnings: Sequence[str]) -> str:
    """The report as Markdown."""
    first = records[0]
    settings, provenance = first.settings, first.provenance
    lines = [
        f"# {settings.preset}: success against number of demonstrations",
        "",
        *(f"> **Warning.** {warning}\n" for warning in warnings),
        "![Success rate against number of demonstrations](curves.png)",
        "",
        "## Ranking",
        "",
        _row(HEADER),
        _row(["---"] * len(HEADER)),
        *(_row(row) for row in ranking_rows(analysis)),
        "",
        "The score is the area under success against log N, averaged over tasks. A rank set such as 1-3 says that no",
        "more can be concluded: contenders are told apart by paired differences on identical initial states,",
        "Holm-corrected over all pairs at 5 %. The gain puts proprio at 0 and oracle at 100. Intervals speak of these",
        "tasks alone.",
        "",
        "## Paired differences",
        "",
        _row(("pair", "difference, points [95 %]", "p, Holm")),
        _row(["---"] * 3),
        *(
            _row(
                (f"{item.first.label} - {item.second.label}", percent(item.difference), f"{item.adjusted_p_value:.3g}")
            )
            for item in analysis.comparisons
        ),
        "",
        *_legacy(records),
        "## Protocol",
        "",
        f"- {settings.num_episodes} episodes on the {settings.split} initial states for each cell.",
        f"- Success at {settings.success_rule.replace('_', ' ')}; the parameters of the last update are evaluated.",
        f"- Images {settings.image_px} px, {settings.render} rendering; preprocessing {settings.preprocessing}.",
        f"- History {settings.history}.",
        f"- Heads: {', '.join(f'{key} {value}' for key, value in settings.train.items())}.",
        *(f"- Deviation: {text}" for text in settings.deviations),
        "",
        "## Provenance",
        "",
        f"- pvrbench {provenance.version}, commit {provenance.commit or 'unknown'}, Python {provenance.python}",
        f"- {', '.join(f'{name} {version}' for name, version in provenance.packages.items())}",
        f"- {provenance.platform}; device {provenance.device}; OpenGL {provenance.gl or 'not used'}",
        *(f"- initial states of {task}: `{digest[:16]}`" for task, digest in _states(records)),
    ]
    return "\n".join(lines) + "\n"


def _legacy(records: Sequence[CellRecord]) -> list[str]:
    found = inflations(records)
    if not found:
        return []
    return [
        "## Maximum over checkpoints (legacy)",
        "",
        "Older protocols report the best of several evaluations of one training. It is shown for comparison with them",
        "alone: choosing on the evaluation episodes reads too high.",
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


def _states(records: Sequence[CellRecord]) -> list[tuple[str, str]]:
    return sorted({(record.cell.task, record.digests.initial_states) for record in records})


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def draw_curves(analysis: Analysis, output_dir: Path) -> None:
    """Draws success against N for each task and overall, as PNG and SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt

    tasks: list[str | None] = [*sorted({point.task for point in analysis.points if point.task is not None})]
    if len(tasks) > 1 and any(point.task is None for point in analysis.points):
        tasks.append(None)
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    styles = _styles(analysis)
    # Text stays text in the SVG, and its identifiers are the same in every run.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "pvrbench", "font.size": 9}
    with mpl.rc_context(settings):
        figure, grid = pyplot.subplots(rows, columns, figsize=(3.6 * columns + 0.4, 3.1 * rows + 0.9), squeeze=False)
        axes: list[Axes] = list(grid.flat)
        for axis, task in zip(axes, tasks, strict=False):
            _draw_task(axis, [point for point in analysis.points if point.task == task], styles)
            axis.set_title("mean over tasks" if task is None else task, fontsize=9)
        for axis in axes[len(tasks) :]:
            axis.axis("off")
        handles, labels = axes[0].get_legend_handles_labels()
        legend_columns = min(2 * columns, max(1, len(labels)))
        figure.legend(handles, labels, loc="lower center", ncol=legend_columns, frameon=False, fontsize=8)
        legend_rows = math.ceil(len(labels) / legend_columns)
        figure.tight_layout(rect=(0, 0.03 + 0.055 * legend_rows / rows, 1, 1))
        figure.savefig(output_dir / "curves.png", dpi=160)
        figure.savefig(output_dir / "curves.svg", metadata={"Date": None})
        pyplot.close(figure)


def _styles(analysis: Analysis) -> dict[Contender, dict[str, Any]]:
    ordered = [item.contender for item in analysis.ranking]
    ordered += sorted({point.contender for point in analysis.points} - set(ordered))
    styles: dict[Contender, dict[str, Any]] = {}
    competing = 0
    for who in ordered:
        if who.is_reference:
            styles[who] = {"color": "#777777", "linestyle": REFERENCE_STYLE[who.encoder], "marker": "."}
        else:
            position = competing % len(COLOURS)
            line = "-" if competing < len(COLOURS) else "--"
            styles[who] = {"color": COLOURS[position], "marker": MARKERS[position], "linestyle": line}
            competing += 1
    return styles


def _draw_task(axis: Axes, points: Sequence[CurvePoint], styles: Mapping[Contender, dict[str, Any]]) -> None:
    numbers = sorted({point.num_demos for point in points})
    several_heads = len({who.head for who in styles}) > 1
    for position, (who, style) in enumerate(styles.items()):
        own = sorted((point for point in points if point.contender == who), key=lambda point: point.num_demos)
        if not own:
            continue
        # A little apart, so that intervals at one N can be read side by side.
        x = [point.num_demos * 1.03 ** (position - (len(styles) - 1) / 2) for point in own]
        label = f"{who.label} ({who.head})" if several_heads else who.label
        axis.plot(x, [100 * point.success.estimate for point in own], markersize=4, linewidth=1.5, label=label, **style)
        low, high = [100 * point.success.low for point in own], [100 * point.success.high for point in own]
        axis.vlines(x, low, high, color=style["color"], alpha=0.45, linewidth=1.2)
    axis.set_xscale("log")
    axis.set_xticks(numbers, labels=[str(number) for number in numbers])
    axis.minorticks_off()
    axis.set_ylim(-3, 103)
    axis.set_xlabel("demonstrations")
    axis.set_ylabel("success, % (95 % intervals)")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
