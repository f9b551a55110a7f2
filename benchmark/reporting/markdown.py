"""Tables and numbers in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pvrbench.benchmark.analysis.estimates import Interval


def percent(interval: Interval) -> str:
    """`55 [43, 66]`, in percent."""
    return f"{100 * interval.estimate:.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; the first row is the header."""
    return [markdown_row(rows[0]), markdown_row(["---"] * len(rows[0])), *map(markdown_row, rows[1:])]
