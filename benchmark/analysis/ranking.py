"""The ranking as rows, CSV, JSON and text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from rich.table import Table

from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.statistics import Analysis, Contender, Ranked

REFERENCE_RANK = "ref."
NO_RANK = "not known"

COLUMNS = (
    "encoder",
    "readout",
    "head",
    "is_reference",
    "score",
    "low",
    "high",
    "best_rank",
    "worst_rank",
    "gain",
    "interquartile_mean",
    "interquartile_low",
    "interquartile_high",
    "population_low",
    "population_high",
)


def row_of(item: Ranked) -> dict[str, object]:
    """A place in the ranking, by column; None where there is no number."""
    who = item.contender
    values = (
        *(who.encoder, who.readout, who.head, who.is_reference),
        *(item.score.estimate, item.score.low, item.score.high),
        *(item.best_rank, item.worst_rank, item.gain),
        *(item.interquartile.estimate, _finite(item.interquartile.low), _finite(item.interquartile.high)),
        *(_finite(item.population.low), _finite(item.population.high)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def ranking_json(analysis: Analysis, warnings: Sequence[str]) -> dict[str, object]:
    """Everything that the analysis concludes, JSON-ready; `num_demos` is null where a target is not reached."""
    return {
        "ranking": [row_of(item) for item in analysis.ranking],
        "groups": [[name_of(who) for who in group] for group in analysis.groups],
        "comparisons": [
            {
                "first": name_of(item.first),
                "second": name_of(item.second),
                "difference": item.difference.estimate,
                "low": item.difference.low,
                "high": item.difference.high,
                "p_value": item.p_value,
                "holm_p_value": item.adjusted_p_value,
                "permutation_p_value": _finite(item.permutation_p_value),
                "probability_of_improvement": item.probability_of_improvement,
            }
            for item in analysis.comparisons
        ],
        "demonstrations_needed": [
            {
                "contender": name_of(item.contender),
                "success": item.target,
                "num_demos": _finite(item.num_demos.estimate),
                "low": _finite(item.num_demos.low),
                "high": _finite(item.num_demos.high),
            }
            for item in analysis.reaches
        ],
        "warnings": list(warnings),
    }


def ranking_csv(analysis: Analysis) -> str:
    """One row for each contender and reference; an empty field where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_shown(value) for value in row_of(item).values()] for item in analysis.ranking)
    return text.getvalue()


def curves_csv(analysis: Analysis) -> str:
    """One row for each contender, task and N; task `all` is the mean over tasks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("encoder", "readout", "head", "task", "num_demos", "success", "low", "high", "num_episodes"))
    for point in analysis.points:
        who, rate = point.contender, point.success
        numbers = (f"{value:.6f}" for value in (rate.estimate, rate.low, rate.high))
        place = (who.encoder, who.readout, who.head, point.task or "all", point.num_demos)
        writer.writerow((*place, *numbers, point.num_episodes))
    return text.getvalue()


def ranking_latex(analysis: Analysis) -> str:
    """The ranking as a LaTeX table of the `booktabs` package; the references stand below a rule of their own."""
    header, *rows = text_rows(analysis)
    ranked, references = ([row for row in rows if (row[0] == REFERENCE_RANK) == apart] for apart in (False, True))
    blocks = [[_tex_row(row) for row in block] for block in ([header], ranked, references) if block]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{'l' * 3 + 'r' * (len(header) - 3)}}}",
        "\\toprule",
        "\n\\midrule\n".join("\n".join(block) for block in blocks),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(row: Sequence[str]) -> str:
    rank, *cells = row
    return " & ".join([rank.replace("-", "--"), *map(_tex, cells)]) + r" \\"


def _tex(text: str) -> str:
    """A text with LaTeX's special characters escaped."""
    special = {character: f"\\{character}" for character in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$"}
    return "".join(special.get(character, character) for character in text)


def ranking_table(analysis: Analysis, target: float = 0.5) -> Table:
    """The ranking for the terminal."""
    rows = text_rows(analysis, target)
    # A single head needs no column of a narrow terminal.
    columns = [index for index, name in enumerate(rows[0]) if name != "head" or len({row[2] for row in rows[1:]}) > 1]
    table = Table(title="Ranking", title_justify="left")
    for index in columns:
        table.add_column(rows[0][index], overflow="fold", no_wrap=index == 0)
    for row in rows[1:]:
        table.add_row(*(row[index] for index in columns))
    return table


def text_rows(analysis: Analysis, target: float = 0.5) -> list[tuple[str, ...]]:
    """Header and rows of the ranking in words a reader needs, best score first."""
    reached = {item.contender: item.num_demos for item in analysis.reaches if item.target == target}
    rows = [("rank", "encoder · readout", "head", "score, % [95 %]", "gain, %", f"demos for {100 * target:.0f} %")]
    for item in analysis.ranking:
        score = item.score
        rows.append(
            (
                _places(item),
                item.contender.label,
                item.contender.head,
                f"{100 * score.estimate:.0f} [{100 * score.low:.0f}, {100 * score.high:.0f}]",
                "" if item.gain is None else f"{100 * item.gain:.0f}",
                needed(reached[item.contender]) if item.contender in reached else "",
            )
        )
    return rows


def _places(item: Ranked) -> str:
    """`3`, `1-4`, or why there is no rank."""
    if item.contender.is_reference:
        return REFERENCE_RANK
    if item.best_rank is None:
        return NO_RANK
    return str(item.best_rank) if item.best_rank == item.worst_rank else f"{item.best_rank}-{item.worst_rank}"


def needed(num_demos: Interval) -> str:
    """`12 [8, 20]`; `not reached` for what is infinite."""
    numbers = [f"{value:.0f}" if math.isfinite(value) else "not reached" for value in (num_demos.low, num_demos.high)]
    if math.isinf(num_demos.estimate):
        return "not reached" if math.isinf(num_demos.low) else f"not reached [{numbers[0]}, not reached]"
    return f"{num_demos.estimate:.0f} [{numbers[0]}, {numbers[1]}]"


def conclusions(analysis: Analysis) -> list[str]:
    """What the ranking says and what it does not, in sentences."""
    lines = [
        f"Not significantly different: {', '.join(name_of(who) for who in group)}."
        for group in analysis.groups
        if len(group) > 1
    ]
    significant = sum(item.is_significant for item in analysis.comparisons)
    if analysis.comparisons:
        lines.append(
            f"{significant} of {len(analysis.comparisons)} pairs are significantly different (paired differences on "
            f"identical initial states, {analysis.correction}-corrected, 5 %)."
        )
    return lines


def name_of(who: Contender) -> str:
    """A contender in one word for programs: `encoder/readout/head`."""
    return f"{who.encoder}/{who.readout}/{who.head}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: object) -> object:
    return f"{value:.6f}" if isinstance(value, float) else "" if value is None else value
