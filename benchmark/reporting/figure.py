"""Success against N as figures for a page of paper: PNG, SVG and PDF, one and two columns wide."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvrbench.benchmark.analysis.statistics import Analysis, Contender, CurvePoint
from pvrbench.benchmark.reporting.style import Style, labels_of, styles_of
from pvrbench.common.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Widths of a page of paper in inches: one column and two.
COLUMN, PAGE = 3.5, 7.16

# Of many contenders paper shows the best; the page and `curves.csv` have them all.
MOST_DRAWN = 10

FONT_PT, LEGEND_PT = 7.5, 7.0


def draw_figures(analysis: Analysis, output_dir: Path) -> None:
    """Writes `curves` (every task, two columns wide) and `overall` (one column), each as PNG, SVG and PDF.

    Where no cell has episodes there is nothing to draw.
    """
    if not analysis.points:
        return
    tasks: list[str | None] = [*sorted({point.task for point in analysis.points if point.task is not None})]
    overall: str | None = tasks[0] if len(tasks) == 1 else None
    if len(tasks) > 1 and any(point.task is None for point in analysis.points):
        tasks.append(None)
    _draw(analysis, tasks, PAGE, output_dir / "curves")
    _draw(analysis, [overall], COLUMN, output_dir / "overall")


def _draw(analysis: Analysis, tasks: Sequence[str | None], width: float, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt
    columns = num_columns(len(tasks))
    rows = math.ceil(len(tasks) / columns)
    styles, num_hidden = drawn_styles(analysis)
    labels = labels_of(styles)
    # The longest label, its line and a gap, in inches.
    entry = 0.4 + 0.5 / 72 * LEGEND_PT * max(map(len, labels.values()))
    legend_columns = max(1, min(len(labels), int(width / entry)))
    legend = LEGEND_PT * 1.5 / 72 * (math.ceil(len(labels) / legend_columns) + bool(num_hidden)) + 0.1
    height = rows * max(1.5, min(2.6, 1.1 * width / columns)) + legend
    # Text stays text in the SVG and the PDF, and identifiers are the same in every run.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "pvrbench", "pdf.fonttype": 42}
    settings["font.size"] = FONT_PT
    with mpl.rc_context(settings):
        figure, grid = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, sharey=True)
        axes: list[Axes] = list(grid.flat)
        for axis, task in zip(axes, tasks, strict=False):
            _draw_task(axis, [point for point in analysis.points if point.task == task], styles)
            axis.set_title("mean over tasks" if task is None else task.replace(" (", "\n("), fontsize=FONT_PT)
        for axis in axes[len(tasks) :]:
            axis.axis("off")
        for axis in axes[::columns]:
            axis.set_ylabel("success, % (95 % intervals)")
        handles = [pyplot.Line2D([], [], **_line(style)) for style in styles.values()]
        figure.legend(
            handles,
            list(labels.values()),
            title=f"the best {MOST_DRAWN} of {MOST_DRAWN + num_hidden}" if num_hidden else None,
            title_fontsize=LEGEND_PT,
            loc="lower center",
            ncol=legend_columns,
            columnspacing=1.0,
            borderaxespad=0.2,
            frameon=False,
            fontsize=LEGEND_PT,
        )
        figure.tight_layout(rect=(0, legend / height, 1, 1))
        options: dict[str, dict[str, Any]] = {
            "png": {"dpi": 220},
            "svg": {"metadata": {"Date": None}},
            "pdf": {"metadata": {"CreationDate": None}},
        }
        for kind, own in options.items():
            content = io.BytesIO()
            figure.savefig(content, format=kind, **own)
            write_atomically(path.with_suffix(f".{kind}"), content.getvalue())
        pyplot.close(figure)


def num_columns(num_panels: int) -> int:
    """Panels in a row: three, or four where that leaves fewer places empty."""
    empty = {columns: -num_panels % columns for columns in (3, 4)}
    return min(num_panels, 4 if empty[4] < empty[3] else 3)


def drawn_styles(analysis: Analysis) -> tuple[dict[Contender, Style], int]:
    """The styles of the references and of the best contenders, and how many contenders that leaves out."""
    styles = styles_of(analysis)
    competing = [who for who in styles if not who.is_reference]
    hidden = set(competing[MOST_DRAWN:])
    return {who: style for who, style in styles.items() if who not in hidden}, len(hidden)


def spread(num_demos: Sequence[int], count: int) -> list[float]:
    """Factors on N that set `count` contenders a little apart, so that their intervals can be read side by side.

    All stay nearer to their own N than to the next.
    """
    gap = min((math.log(high / low) for low, high in pairwise(sorted(num_demos))), default=math.log(2))
    step = min(math.log(1.03), 0.5 * gap / count)
    return [math.exp(step * (position - (count - 1) / 2)) for position in range(count)]


def _line(style: Style) -> dict[str, Any]:
    line = {"color": style.colour, "marker": style.marker, "linestyle": style.dash}
    return line | {"markersize": 3.5, "linewidth": 1.2}


def _draw_task(axis: Axes, points: Sequence[CurvePoint], styles: Mapping[Contender, Style]) -> None:
    numbers = sorted({point.num_demos for point in points})
    for factor, (who, style) in zip(spread(numbers, len(styles)), styles.items(), strict=True):
        own = sorted((point for point in points if point.contender == who), key=lambda point: point.num_demos)
        x = [point.num_demos * factor for point in own]
        axis.plot(x, [100 * point.success.estimate for point in own], **_line(style))
        low, high = [100 * point.success.low for point in own], [100 * point.success.high for point in own]
        axis.vlines(x, low, high, color=style.colour, alpha=0.45, linewidth=1)
    axis.set_xscale("log")
    axis.set_xticks(numbers, labels=[str(number) for number in numbers])
    axis.minorticks_off()
    axis.set_ylim(-3, 103)
    axis.set_xlabel("demonstrations")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
