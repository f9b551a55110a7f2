"""Success against N as figures for a page of paper: PNG and SVG, one and two columns wide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.statistics import Analysis, Contender, CurvePoint
from benchmark.style import Style, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Widths of a page of paper in inches: one column and two.
COLUMN, PAGE = 3.5, 7.16


def draw_figures(analysis: Analysis, output_dir: Path) -> None:
    """Writes `curves` (every task, two columns wide) and `overall` (one column), each as PNG and SVG."""
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
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    styles = styles_of(analysis)
    legend_columns = max(1, round(width / 1.75))
    legend = 0.22 * math.ceil(len(styles) / legend_columns) + 0.1
    height = rows * min(2.6, 1.1 * width / columns) + legend
    # Text stays text in the SVG, and its identifiers are the same in every run.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "pvrbench", "font.size": 7.5}
    with mpl.rc_context(settings):
        figure, grid = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, sharey=True)
        axes: list[Axes] = list(grid.flat)
        for axis, task in zip(axes, tasks, strict=False):
            _draw_task(axis, [point for point in analysis.points if point.task == task], styles)
            axis.set_title("mean over tasks" if task is None else task.replace(" (", "\n("), fontsize=7.5)
        for axis in axes[len(tasks) :]:
            axis.axis("off")
        for axis in axes[::columns]:
            axis.set_ylabel("success, % (95 % intervals)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncol=legend_columns, frameon=False, fontsize=7)
        figure.tight_layout(rect=(0, legend / height, 1, 1))
        figure.savefig(path.with_suffix(".png"), dpi=220)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        pyplot.close(figure)


def _draw_task(axis: Axes, points: Sequence[CurvePoint], styles: Mapping[Contender, Style]) -> None:
    numbers = sorted({point.num_demos for point in points})
    several_heads = len({who.head for who in styles}) > 1
    for position, (who, style) in enumerate(styles.items()):
        own = sorted((point for point in points if point.contender == who), key=lambda point: point.num_demos)
        if not own:
            continue
        # A little apart, so that intervals at one N can be read side by side.
        x = [point.num_demos * 1.03 ** (position - (len(styles) - 1) / 2) for point in own]
        label = f"{who.label} ({who.head})" if several_heads else who.label
        line: dict[str, Any] = {"color": style.colour, "marker": style.marker, "linestyle": style.dash}
        line |= {"markersize": 3.5, "linewidth": 1.2}
        axis.plot(x, [100 * point.success.estimate for point in own], label=label, **line)
        low, high = [100 * point.success.low for point in own], [100 * point.success.high for point in own]
        axis.vlines(x, low, high, color=style.colour, alpha=0.45, linewidth=1)
    axis.set_xscale("log")
    axis.set_xticks(numbers, labels=[str(number) for number in numbers])
    axis.minorticks_off()
    axis.set_ylim(-3, 103)
    axis.set_xlabel("demonstrations")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
