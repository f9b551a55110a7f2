"""Statistics -> the sections of the page; each is empty where the records hold nothing for it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pvrbench.benchmark import catalog
from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.legacy import inflations, unevaluated
from pvrbench.benchmark.analysis.letters import letters_of
from pvrbench.benchmark.analysis.ranking import conclusions, text_rows
from pvrbench.benchmark.analysis.statistics import Analysis, Comparison, Contender, CurvePoint, Ranked
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.cost import Cost, cost_rows, measured_axes
from pvrbench.benchmark.reporting.markup import bar, breakable, render, table
from pvrbench.benchmark.reporting.style import Style, labels_of, styles_of

# Of many contenders the figures show the best at first.
MANY, SHOWN_AT_FIRST = 8, 6

# Longer tables are folded.
MANY_ROWS = 15


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def curves(analysis: Analysis) -> Markup:
    """Curves for each task and over all, the boxes that choose encoders, and the numbers."""
    if not analysis.points:
        return Markup("")
    tasks = sorted({point.task for point in analysis.points if point.task is not None})
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
    styles = styles_of(analysis)
    competing = [who for who in styles if not who.is_reference]
    hidden = set(competing[SHOWN_AT_FIRST:]) if len(competing) > MANY else set[Contender]()
    labels = labels_of(styles)
    return render(
        "curves.html",
        # One box for each contender; they serve all figures.
        boxes=[
            {"label": labels[who], "is_shown": who not in hidden, "glyph": style.glyph, **_look(style)}
            for who, style in styles.items()
        ],
        buttons=["All", "None"] if len(competing) <= MANY else ["Best", "All", "None"],
        has_mean=len(tasks) > 1 and any(point.task is None for point in analysis.points),
        tasks=tasks,
        numbers=table(header, rows, caption="Success against number of demonstrations", first_number=3),
    )


def _look(style: Style) -> dict[str, str]:
    # Black cannot be seen on a dark background: it takes the colour of the text.
    return {
        "colour": "var(--ink)" if style.colour == "#000000" else style.colour,
        "border": {"-": "solid", ":": "dotted"}.get(style.dash, "dashed"),
    }


def ranking(analysis: Analysis) -> Markup:
    """The ranking with its rank sets, and the groups that are not significantly different."""
    header, *rows = text_rows(analysis)
    if not rows:
        return Markup("")
    competing = [item.contender for item in analysis.ranking if not item.contender.is_reference]
    letters = letters_of(competing, analysis.comparisons) if analysis.groups else dict[Contender, str]()
    several_heads = len({item.contender.head for item in analysis.ranking}) > 1

    def line(row: Sequence[str], places: str, letter: str, score: str) -> tuple[str, ...]:
        rank, name, head, percent, *others = row
        group = [letter] if letters else []
        return (rank, name, places, *([head] if several_heads else []), percent, *group, score, *others)

    drawn = [
        line(
            row,
            _rank_bar(item, len(competing)),
            letters.get(item.contender, ""),
            bar(item.score.low, item.score.high, item.score.estimate),
        )
        for row, item in zip(rows, analysis.ranking, strict=True)
    ]
    names = line(header, "possible ranks", "groups", "0 to 100 %")
    *groups, summary = conclusions(analysis) or [""]
    caption = f"Ranking with rank sets and {analysis.intervals}"
    numbers = table(names, drawn, caption=caption, first_number=len(names) - 2, heading=1)
    return render("ranking.html", numbers=numbers, groups=groups, summary=summary, has_letters=bool(letters))


def _rank_bar(item: Ranked, competing: int) -> str:
    if item.best_rank is None or item.worst_rank is None:
        return ""
    return bar((item.best_rank - 1) / competing, item.worst_rank / competing)


def readouts(analysis: Analysis) -> Markup:
    """Readouts of one encoder in one row, and patches against the class token in pairs."""
    found: dict[str, set[str]] = {}
    for item in analysis.ranking:
        if not item.contender.is_reference:
            found.setdefault(item.contender.encoder, set()).add(item.contender.readout)
    if all(len(names) == 1 for names in found.values()):
        return Markup("")
    scores = [
        (item.contender.encoder, item.contender.readout, item.contender.head, *map(_percent, _limits(item.score)))
        for item in sorted(analysis.ranking, key=lambda item: item.contender)
        if not item.contender.is_reference
    ]
    caption = "Score of each readout of each encoder"
    header = (
        "encoder",
        "patches",
        "class token or pooled",
        "head",
        "difference, points",
        "low",
        "high",
        f"p, {analysis.correction}",
    )
    against = _patches_against_token(analysis)
    return render(
        "readouts.html",
        caption=caption,
        num_encoders=len(found),
        numbers=table(
            ("encoder", "readout", "head", "score, %", "low", "high"), scores, caption=caption, first_number=3
        ),
        against=table(header, against, caption="Paired difference of patches and class token", first_number=4)
        if against
        else "",
    )


def _patches_against_token(analysis: Analysis) -> list[tuple[str, ...]]:
    known = catalog.readouts()

    def reads_patches(who: Contender) -> bool | None:
        reads = known[who.readout].reads if who.readout in known else ()
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


def heat(analysis: Analysis) -> Markup:
    """A table for each N whose cells are coloured by success: read aloud it is the numbers."""
    styles = styles_of(analysis)
    labels = labels_of(styles)
    tasks = sorted({point.task for point in analysis.points if point.task is not None})
    if not tasks:
        return Markup("")
    rates = {(point.contender, point.task, point.num_demos): point for point in analysis.points}
    header = ("encoder · readout", *map(breakable, tasks))

    def grid(number: int) -> Markup:
        rows = [(labels[who], *(_heat_cell(rates.get((who, task, number))) for task in tasks)) for who in styles]
        caption = f"Success on each task with {number} demonstrations, %"
        return table(header, rows, caption=caption, first_number=1, row_ids=range(len(rows)))

    numbers = sorted({point.num_demos for point in analysis.points})
    return render("heat.html", parts=[{"number": number, "grid": grid(number)} for number in numbers])


def _heat_cell(point: CurvePoint | None) -> Markup:
    if point is None:
        return render("heat_cell.html", share=None)
    share = round(100 * point.success.estimate)
    depth = "deep" if share >= 65 else "half" if share >= 50 else "pale"
    reach = f"{100 * point.success.low:.0f} to {100 * point.success.high:.0f}"
    return render("heat_cell.html", share=share, depth=depth, reach=reach)


def cost(costs: Sequence[Cost]) -> Markup:
    """Score against each cost that was measured."""
    axes = measured_axes(costs)
    if not axes:
        return Markup("")
    header, *rows = cost_rows(costs)
    return render("cost.html", axes=axes, numbers=table(header, rows, caption="Score and cost", first_number=1))


def pairs(analysis: Analysis) -> Markup:
    """All paired differences."""
    if not analysis.comparisons:
        return Markup("")
    header = ("pair", "difference, points", "low", "high", f"p, {analysis.correction}", "probability of improvement, %")
    rows = [_pair(item) for item in analysis.comparisons]
    numbers = table(header, rows, caption="Paired differences", first_number=1)
    return render("pairs.html", summary=f"{len(rows)} pairs", is_open=len(rows) <= MANY_ROWS, numbers=numbers)


def _pair(item: Comparison) -> tuple[str, ...]:
    return (
        f"{item.first.label} - {item.second.label}",
        *map(_percent, _limits(item.difference)),
        f"{item.adjusted_p_value:.3g}",
        f"{100 * item.probability_of_improvement:.0f}",
    )


def legacy(records: Sequence[CellRecord]) -> Markup:
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
    not_evaluated = unevaluated(records)
    if not rows and not not_evaluated:
        return Markup("")
    header = ("encoder · readout", "head", "N", "last update, %", "maximum, %", "inflation, points")
    caption = "Maximum over checkpoints beside the last update"
    numbers = table(header, rows, caption=caption, first_number=2) if rows else None
    return render("legacy.html", numbers=numbers, not_evaluated=not_evaluated)
