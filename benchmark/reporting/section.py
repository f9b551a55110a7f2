"""Statistics -> the sections of the page; each is empty where the records hold nothing for it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.legacy import inflations, unevaluated
from pvrbench.benchmark.analysis.ranking import conclusions, text_rows
from pvrbench.benchmark.analysis.statistics import Analysis, Comparison, Contender, CurvePoint
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.cost import Cost, cost_rows, measured_axes
from pvrbench.benchmark.reporting.markup import Html, bar, folded, listed, paragraph, plot, table
from pvrbench.benchmark.reporting.style import Style, labels_of, styles_of
from pvrbench.encoders.readouts.catalog import READOUTS

# Of many contenders the figures show the best at first.
MANY, SHOWN_AT_FIRST = 8, 6

# Longer tables are folded.
MANY_ROWS = 15


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def curves(analysis: Analysis) -> str:
    """Curves for each task and over all, the boxes that choose encoders, and the numbers."""
    if not analysis.points:
        return ""
    tasks = sorted({point.task for point in analysis.points if point.task is not None})
    together = len(tasks) > 1 and any(point.task is None for point in analysis.points)
    plots = plot("curves", "Success against number of demonstrations, mean over tasks", task="") if together else ""
    small = "".join(plot("curves", f"Success against number of demonstrations, {task}", task=task) for task in tasks)
    rows = [
        (
            point.contender.label,
            point.contender.head,
            point.task or "mean over tasks",
            str(point.num_demos),
            *map(_percent, (point.success.estimate, point.success.low, point.success.high)),
            str(point.num_episodes),
        )
        for point in analysis.points
    ]
    header = ("encoder · readout", "head", "task", "N", "success, %", "low", "high", "episodes")
    numbers = table(header, rows, caption="Success against number of demonstrations", first_number=3)
    note = paragraph(
        "Bands are 95 % intervals. Whether two encoders differ is said by paired differences, not by bands."
    )
    return f'{_controls(analysis)}{plots}<div class="plots">{small}</div>{note}{folded("The numbers", numbers)}'


def _controls(analysis: Analysis) -> str:
    """One box for each contender; they serve all figures."""
    styles = styles_of(analysis)
    competing = [who for who in styles if not who.is_reference]
    hidden = set(competing[SHOWN_AT_FIRST:]) if len(competing) > MANY else set[Contender]()
    labels = labels_of(styles)
    boxes = "".join(
        f'<label><input type="checkbox" value="{index}"{"" if who in hidden else " checked"}>'
        f'<span class="swatch" aria-hidden="true" style="{_look(style)}">{style.glyph}</span>'
        f"{escape(labels[who])}</label>"
        for index, (who, style) in enumerate(styles.items())
    )
    buttons = "".join(
        f'<button type="button" data-choose="{name}">{name}</button>'
        for name in (["All", "None"] if len(competing) <= MANY else ["Best", "All", "None"])
    )
    return (
        '<details id="controls" open><summary>Encoders shown in the figures: <output></output></summary>'
        f'<fieldset><legend class="unseen">Encoders shown in the figures</legend>{buttons}<div>{boxes}</div></fieldset>'
        "</details>"
    )


def _look(style: Style) -> str:
    # Black is not seen on a dark ground: it takes the colour of the text.
    colour = "var(--ink)" if style.colour == "#000000" else style.colour
    border = {"-": "solid", ":": "dotted"}.get(style.dash, "dashed")
    return f"color:{colour};border-top:2px {border}"


def ranking(analysis: Analysis) -> str:
    """The ranking with its rank sets, and who cannot be told apart."""
    header, *rows = text_rows(analysis)
    if not rows:
        return ""
    competing = sum(not item.contender.is_reference for item in analysis.ranking)
    several_heads = len({item.contender.head for item in analysis.ranking}) > 1

    def line(row: Sequence[str], places: str, score: str) -> tuple[str, ...]:
        rank, name, head, percent, *others = row
        return (rank, name, places, *([head] if several_heads else []), percent, score, *others)

    drawn = [
        line(
            row,
            "" if item.contender.is_reference else bar((item.best_rank - 1) / competing, item.worst_rank / competing),
            bar(item.score.low, item.score.high, item.score.estimate),
        )
        for row, item in zip(rows, analysis.ranking, strict=True)
    ]
    names = line(header, "possible ranks", "0 to 100 %")
    *groups, apart = conclusions(analysis) or [""]
    return (
        table(names, drawn, caption="Ranking with rank sets and 95 % intervals", first_number=len(names) - 2, heading=1)
        + (paragraph(apart, "") if apart else "")
        + (folded("Who cannot be told apart", listed(groups), is_open=len(groups) < 3) if groups else "")
        + paragraph(
            "The score is the area under success against log N, averaged over tasks. A set of ranks says that no more "
            "can be concluded. The gain puts proprio at 0 and oracle at 100."
        )
    )


def readouts(analysis: Analysis) -> str:
    """Readouts of one encoder in one row, and patches against the class token in pairs."""
    found: dict[str, set[str]] = {}
    for item in analysis.ranking:
        if not item.contender.is_reference:
            found.setdefault(item.contender.encoder, set()).add(item.contender.readout)
    if all(len(names) == 1 for names in found.values()):
        return ""
    scores = [
        (item.contender.encoder, item.contender.readout, item.contender.head, *map(_percent, _limits(item.score)))
        for item in sorted(analysis.ranking, key=lambda item: item.contender)
        if not item.contender.is_reference
    ]
    caption = "Score of each readout of each encoder"
    numbers = table(("encoder", "readout", "head", "score, %", "low", "high"), scores, caption=caption, first_number=3)
    against = _patches_against_token(analysis)
    header = ("encoder", "patches", "class token or pooled", "head", "difference, points", "low", "high", "p, Holm")
    return (
        plot("readouts", caption, rows=len(found))
        + folded("The numbers", numbers)
        + (
            "<h3>Patches minus class token</h3>"
            + table(header, against, caption="Paired difference of patches and class token", first_number=4)
            if against
            else ""
        )
    )


def _patches_against_token(analysis: Analysis) -> list[tuple[str, ...]]:
    def reads_patches(who: Contender) -> bool | None:
        reads = READOUTS[who.readout].reads if who.readout in READOUTS else ()
        return None if len(reads) != 1 else reads[0] == "grid"

    rows: list[tuple[str, ...]] = []
    for pair in analysis.comparisons:
        kinds = reads_patches(pair.first), reads_patches(pair.second)
        alike = (pair.first.encoder, pair.first.head) == (pair.second.encoder, pair.second.head)
        if not alike or set(kinds) != {True, False}:
            continue
        patches, token, sign = (pair.first, pair.second, 1) if kinds[0] else (pair.second, pair.first, -1)
        estimate, *ends = (sign * value for value in _limits(pair.difference))
        values = (estimate, min(ends), max(ends))
        names = (patches.encoder, patches.readout, token.readout, patches.head)
        rows.append((*names, *(f"{100 * value:+.1f}" for value in values), f"{pair.adjusted_p_value:.3g}"))
    return rows


def _limits(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def heat(analysis: Analysis) -> str:
    """A table for each N whose cells are coloured by success: read aloud it is the numbers."""
    styles = styles_of(analysis)
    labels = labels_of(styles)
    tasks = sorted({point.task for point in analysis.points if point.task is not None})
    rates = {(point.contender, point.task, point.num_demos): point for point in analysis.points}
    numbers = sorted({point.num_demos for point in analysis.points})
    boxes, tables = "", ""
    for number in numbers:
        rows = [(labels[who], *(_heat_cell(rates.get((who, task, number))) for task in tasks)) for who in styles]
        grid = table(
            ("encoder · readout", *(Html(escape(task).replace("/", "/<wbr>")) for task in tasks)),
            rows,
            caption=f"Success on each task with {number} demonstrations, %",
            first_number=1,
            row_ids=range(len(rows)),
        )
        last = number == numbers[-1]
        tables += f'<div class="heat" data-number="{number}"{"" if last else " hidden"}>{grid}</div>'
        checked = " checked" if last else ""
        boxes += f'<label><input type="radio" name="heat" value="{number}"{checked}>{number}</label>'
    return f'<fieldset class="plain"><legend>Demonstrations</legend>{boxes}</fieldset>{tables}' if tasks else ""


def _heat_cell(point: CurvePoint | None) -> Html:
    if point is None:
        return Html('<span class="none">not run</span>')
    share = round(100 * point.success.estimate)
    depth = "deep" if share >= 65 else "half" if share >= 50 else "pale"
    reach = f"{100 * point.success.low:.0f} to {100 * point.success.high:.0f}"
    return Html(f'<span class="{depth}" style="--share:{share}%" title="95 % interval: {reach}">{share}</span>')


def cost(costs: Sequence[Cost]) -> str:
    """Score against each cost that was measured."""
    axes = measured_axes(costs)
    if not axes:
        return ""
    options = "".join(f'<option value="{name}">{escape(text)}</option>' for name, text in axes.items())
    header, *rows = cost_rows(costs)
    return (
        f'<label>Cost: <select id="cost-axis">{options}</select></label>'
        + plot("cost", "Score against cost, with the Pareto front")
        + paragraph(
            "The dotted line joins those that nobody beats at their cost. Times are of the machine that ran them."
        )
        + folded("The numbers", table(header, rows, caption="Score and cost", first_number=1))
    )


def pairs(analysis: Analysis) -> str:
    """All paired differences."""
    if not analysis.comparisons:
        return ""
    header = ("pair", "difference, points", "low", "high", "p, Holm", "probability of improvement, %")
    rows = [_pair(item) for item in analysis.comparisons]
    numbers = table(header, rows, caption="Paired differences", first_number=1)
    return folded(f"{len(rows)} pairs", numbers, is_open=len(rows) <= MANY_ROWS)


def _pair(item: Comparison) -> tuple[str, ...]:
    return (
        f"{item.first.label} - {item.second.label}",
        *map(_percent, _limits(item.difference)),
        f"{item.adjusted_p_value:.3g}",
        f"{100 * item.probability_of_improvement:.0f}",
    )


def legacy(records: Sequence[CellRecord]) -> str:
    """What older protocols would have reported, or that it was not evaluated; empty where the original does not."""
    rows = [
        (
            f"{item.encoder} · {item.readout}",
            item.head,
            str(item.num_demos),
            *map(_percent, (item.last, item.maximum, item.maximum - item.last)),
        )
        for item in inflations(records)
    ]
    if not rows:
        told = unevaluated(records)
        return paragraph(told) if told else ""
    header = ("encoder · readout", "head", "N", "last update, %", "maximum, %", "inflation, points")
    note = paragraph("Older protocols report the best of several evaluations; it reads too high and is never ranked.")
    return note + table(header, rows, caption="Maximum over checkpoints beside the last update", first_number=2)
