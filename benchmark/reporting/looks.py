"""Changed looks in a report: what is retained, whether ranks hold, and what the pictures were."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pvrbench.benchmark.analysis.cube import Contender
from pvrbench.benchmark.analysis.estimates import LEVEL
from pvrbench.benchmark.analysis.shifts import Interaction, Retained, Shifts
from pvrbench.benchmark.analysis.statistics import Analysis
from pvrbench.benchmark.reporting.markdown import markdown_table, percent
from pvrbench.benchmark.reporting.markup import breakable, render, table
from pvrbench.benchmark.reporting.style import labels_of, styles_of
from pvrbench.envs.spec import Look

COLUMNS = (
    *("look", "axis", "level", "seed", "encoder", "readout", "adaptation", "head"),
    *("nominal", "shifted", "retained", "retained_low", "retained_high"),
    *("difference", "difference_low", "difference_high", "p_value"),
)
# Size of a figure's panel in inches, and panels in a row.
PANEL_INCHES, NUM_COLUMNS = (2.3, 1.8), 3


@dataclass(frozen=True, slots=True)
class LooksReport:
    """What a report says of changed looks.

    Attributes:
        shifts: the statistics.
        analysis: of the nominal records, for order and styles of the contenders.
        figure: retained success by level.
        sheets: example pictures by task, beside the report.
    """

    shifts: Shifts
    analysis: Analysis
    figure: Path
    sheets: Mapping[str, Path]


def looks_csv(shifts: Shifts) -> str:
    """One row for each contender and look; an empty field where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in shifts.retained:
        look, who = Look.parse(item.look), item.contender
        numbers = (
            *(item.nominal.estimate, item.shifted.estimate, item.ratio.estimate, item.ratio.low, item.ratio.high),
            *(item.difference.estimate, item.difference.low, item.difference.high, item.p_value),
        )
        names = (item.look, look.axis, look.level, look.seed, who.encoder, who.readout, who.adaptation, who.head)
        writer.writerow((*names, *(f"{value:.6f}" if math.isfinite(value) else "" for value in numbers)))
    return text.getvalue()


def looks_json(shifts: Shifts) -> dict[str, object]:
    """Rank agreement of each look, JSON-ready; null where it cannot be said."""
    return {
        look: None
        if found is None
        else {
            "kendall": found.kendall.estimate,
            "low": found.kendall.low,
            "high": found.kendall.high,
            "mean_maximum_rank_violation": found.violation.estimate,
            "num_contenders": found.num_contenders,
        }
        for look, found in shifts.agreements.items()
    }


def agreement_rows(shifts: Shifts) -> list[tuple[str, ...]]:
    """Header and rows: how well the nominal ranking foretells the one under each look."""
    rows = [("look", "Kendall's tau [95 %]", "mean maximum rank violation, points", "contenders", "pairs apart")]
    for look, found in shifts.agreements.items():
        apart = sum(item.is_significant for item in shifts.analyses[look].comparisons)
        pairs = f"{apart} of {len(shifts.analyses[look].comparisons)}"
        if found is None:
            rows.append((look, "not known", "not known", "", pairs))
            continue
        tau = found.kendall
        text = f"{tau.estimate:.2f} [{tau.low:.2f}, {tau.high:.2f}]"
        rows.append((look, text, f"{100 * found.violation.estimate:.1f}", str(found.num_contenders), pairs))
    return rows


def retained_rows(shifts: Shifts, order: Sequence[Contender]) -> list[tuple[str, ...]]:
    """Header and rows: retained success of each contender under each look, percent of its nominal score."""
    cells = {(item.contender, item.look): item for item in shifts.retained}
    looks = list(dict.fromkeys(item.look for item in shifts.retained))
    labels = labels_of(order)
    header = ("encoder · readout", "nominal score, %", *looks)
    nominal = {item.contender: item.nominal for item in shifts.retained}
    return [
        header,
        *(
            (labels[who], percent(nominal[who]), *(ratio_text(cells.get((who, look))) for look in looks))
            for who in order
            if who in nominal
        ),
    ]


def ratio_text(item: Retained | None) -> str:
    """`73 [60, 88]`; empty where there is nothing to retain."""
    if item is None or math.isnan(item.ratio.estimate):
        return ""
    high = f"{100 * item.ratio.high:.0f}" if math.isfinite(item.ratio.high) else "unbounded"
    return f"{100 * item.ratio.estimate:.0f} [{100 * item.ratio.low:.0f}, {high}]"


def interaction_rows(items: Sequence[Interaction]) -> list[tuple[str, ...]]:
    """Header and rows: pairs whose changes differ significantly."""
    rows = [("look", "pair", "difference of the changes, points [95 %]", "p, Holm")]
    rows += [
        (
            item.look,
            f"{item.first.label} - {item.second.label}",
            percent(item.difference),
            f"{item.adjusted_p_value:.3g}",
        )
        for item in items
        if item.adjusted_p_value < 1 - LEVEL
    ]
    return rows


def looks_markdown(looks: LooksReport) -> list[str]:
    """The section of `report.md`."""
    shifts, order = looks.shifts, list(styles_of(looks.analysis))
    interactions = interaction_rows(shifts.interactions)
    return [
        "## Changed looks",
        "",
        "Policies trained under the nominal look, on the same initial states. Retained success is the score under the",
        "look over the nominal score, in percent, with its 95 % interval (Fieller).",
        "",
        *markdown_table(retained_rows(shifts, order)),
        "",
        "![Retained success by level](looks.png)",
        "",
        "Does the nominal ranking foretell the one under a look?",
        "",
        *markdown_table(agreement_rows(shifts)),
        "",
        f"{len(interactions) - 1} of {len(shifts.interactions)} pairs lose significantly different amounts (difference",
        "in differences, Holm-corrected within each look, 5 %).",
        "",
        *(markdown_table(interactions) if len(interactions) > 1 else []),
        "",
        *(line for task, path in looks.sheets.items() for line in (f"![{task} under each look]({path.name})", "")),
    ]


def looks_section(looks: LooksReport) -> Markup:
    """The section of the page."""
    shifts, order = looks.shifts, list(styles_of(looks.analysis))
    cells = {(item.contender, item.look): item for item in shifts.retained}
    names = list(dict.fromkeys(item.look for item in shifts.retained))
    header, *rows = retained_rows(shifts, order)
    shown = [who for who in order if any((who, name) in cells for name in names)]
    heat = [
        (row[0], row[1], *(_heat_cell(cells.get((who, name))) for name in names))
        for who, row in zip(shown, rows, strict=True)
    ]
    ids = [order.index(who) for who in shown]
    agreement = agreement_rows(shifts)
    pairs = interaction_rows(shifts.interactions)
    return render(
        "looks.html",
        heat=table(
            (*header[:2], *map(breakable, header[2:])),
            heat,
            caption="Retained success, % of the nominal score",
            first_number=1,
            row_ids=ids,
        ),
        numbers=table(header, rows, caption="Retained success with 95 % intervals", first_number=1),
        figure=base64.b64encode(looks.figure.read_bytes()).decode(),
        agreement=table(agreement[0], agreement[1:], caption="Agreement of the rankings", first_number=1),
        ranks=_ranks(shifts, names),
        num_pairs=len(shifts.interactions),
        pairs=table(pairs[0], pairs[1:], caption="Differences of the changes", first_number=2) if pairs[1:] else "",
        num_apart=len(pairs) - 1,
        sheets=[
            {"task": task, "source": base64.b64encode(path.read_bytes()).decode()}
            for task, path in looks.sheets.items()
        ],
        warnings=shifts.warnings,
    )


def _heat_cell(item: Retained | None) -> Markup:
    if item is None or math.isnan(item.ratio.estimate):
        return render("heat_cell.html", share=None)
    share = round(100 * item.ratio.estimate)
    depth = "deep" if share >= 65 else "half" if share >= 50 else "pale"
    return render("heat_cell.html", share=share, depth=depth, reach=ratio_text(item).partition(" ")[2])


def _ranks(shifts: Shifts, looks: Sequence[str]) -> Markup:
    """Possible ranks under each look."""
    places = {
        (item.contender, look): f"{item.best_rank}-{item.worst_rank}"
        for look in looks
        for item in shifts.analyses[look].ranking
        if item.best_rank is not None
    }
    everyone = sorted({who for who, _ in places})
    if not everyone:
        return Markup("")
    labels = labels_of(everyone)
    rows = [(labels[who], *(places.get((who, look), "") for look in looks)) for who in everyone]
    return table(("encoder · readout", *looks), rows, caption="Possible ranks under each look", first_number=1)


def draw_looks(shifts: Shifts, analysis: Analysis, path: Path) -> Path:
    """Draws retained success by level, one panel for each axis, with 95 % intervals; returns the path."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt
    styles = {who: style for who, style in styles_of(analysis).items() if not who.is_reference}
    labels = labels_of(styles)
    axes_of_looks = list(dict.fromkeys(Look.parse(item.look).axis for item in shifts.retained))
    columns = min(NUM_COLUMNS, len(axes_of_looks))
    rows = math.ceil(len(axes_of_looks) / columns)
    legend = 0.18 * math.ceil(len(styles) / max(1, columns)) + 0.2
    size = (columns * PANEL_INCHES[0], rows * PANEL_INCHES[1] + legend)
    with mpl.rc_context({"font.size": 7.0}):
        figure, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, sharey=True)
        for panel, axis in zip(grid.flat, axes_of_looks, strict=False):
            for number, (who, style) in enumerate(styles.items()):
                own = sorted(
                    (look.level, item.ratio)
                    for item in shifts.retained
                    if item.contender == who and (look := Look.parse(item.look)).axis == axis and look.seed == 0
                    if not math.isnan(item.ratio.estimate)
                )
                aside = 0.05 * (number - (len(styles) - 1) / 2) / max(1, len(styles) / 4)
                x = [0.0, *(level + aside for level, _ in own)]
                y = [100.0, *(100 * ratio.estimate for _, ratio in own)]
                panel.plot(x, y, color=style.colour, marker=style.marker, linestyle=style.dash, markersize=3, lw=1)
                for level, ratio in own:
                    high = 100 * min(ratio.high, 1.6)
                    panel.plot([level + aside] * 2, [100 * ratio.low, high], color=style.colour, lw=0.6)
            panel.set_title(axis, fontsize=7.0)
            panel.set_xticks(range(4), ["nominal", "1", "2", "3"])
            panel.set_ylim(0, 160)
        for panel in grid.flat[len(axes_of_looks) :]:
            panel.axis("off")
        for panel in grid[:, 0]:
            panel.set_ylabel("retained success, %")
        handles = [
            pyplot.Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dash)
            for style in styles.values()
        ]
        figure.legend(handles, list(labels.values()), loc="lower center", ncol=columns, frameon=False, fontsize=6.5)
        figure.tight_layout(rect=(0, legend / size[1], 1, 1))
        figure.savefig(path, dpi=200)
        pyplot.close(figure)
    return path
