"""Pieces of HTML: all text is escaped but what is marked as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


class Html(str):
    """Markup that is already safe."""

    __slots__ = ()


def safe(text: str) -> Html:
    """Text as markup that shows it; HTML stays what it is."""
    return text if isinstance(text, Html) else Html(escape(text))


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    first_number: int,
    heading: int = 0,
    row_ids: Sequence[int] | None = None,
) -> Html:
    """A table that scrolls sideways where it is wide.

    Args:
        header: the columns' names.
        rows: their cells.
        caption: what the table is, for readers that hear it.
        first_number: columns from this one on hold numbers.
        heading: the column that names its row.
        row_ids: numbers of the contenders in the rows, by which the page hides those that are not chosen.
    """

    def kind(column: int) -> str:
        return ' class="number"' if column >= first_number else ""

    def line(index: int, row: Sequence[str]) -> str:
        mark = "" if row_ids is None else f' data-id="{row_ids[index]}"'
        return f"<tr{mark}>{''.join(cell(column, text) for column, text in enumerate(row))}</tr>"

    def cell(column: int, text: str) -> str:
        if column == heading:
            return f'<th scope="row">{safe(text)}</th>'
        return f"<td{kind(column)}>{safe(text)}</td>"

    head = "".join(f'<th scope="col"{kind(column)}>{safe(text)}</th>' for column, text in enumerate(header))
    body = "".join(line(index, row) for index, row in enumerate(rows))
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f'<caption class="unseen">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, body: str, *, is_open: bool = False) -> Html:
    """A part that is shown when it is asked for."""
    return Html(f"<details{' open' if is_open else ''}><summary>{escape(summary)}</summary>{body}</details>")


def listed(texts: Sequence[str]) -> Html:
    """A list."""
    return Html(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>")


def definitions(rows: Mapping[str, str]) -> Html:
    """Terms and what they are."""
    return Html(
        "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in rows.items()) + "</dl>"
    )


def paragraph(text: str, kind: str = "faint") -> Html:
    """A paragraph in small print, or of another kind."""
    return Html(f'<p class="{kind}">{escape(text)}</p>')


def bar(low: float, high: float, at: float | None = None) -> Html:
    """A range within 0..1, with a mark in it; the number stands beside it, so it is not read aloud."""
    mark = "" if at is None else f'<i style="left:{100 * at:.1f}%"></i>'
    return Html(
        f'<span class="bar" aria-hidden="true"><b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b>'
        f"{mark}</span>"
    )


def plot(kind: str, label: str, *, task: str | None = None, rows: int | None = None) -> Html:
    """Where the page's script draws a figure; `rows` makes it as high as so many lines need."""
    height = "" if rows is None else f' style="height:{7 + 2.2 * rows:.1f}rem"'
    where = "" if task is None else f' data-task="{escape(task)}"'
    text = f"{label}; the numbers stand in the table that follows"
    return Html(f'<div class="plot" data-kind="{kind}"{where}{height} role="img" aria-label="{escape(text)}"></div>')
