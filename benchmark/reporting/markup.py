"""HTML by Jinja2: the templates of the page, with every text escaped unless it is markup already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment() -> Environment:
    """The environment of all templates; an unknown name in a template is an error."""
    found = Environment(
        loader=PackageLoader("pvrbench.benchmark.reporting", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # NaN is not JSON, and browsers refuse it.
    found.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return found


def render(template: str, **context: Any) -> Markup:
    """A template with its values.

    Args:
        template: file name in `template/`.
        context: values by name; text is escaped, `Markup` is not.
    """
    return Markup(environment().get_template(template).render(context))  # noqa: S704 - the templates escape


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    first_number: int,
    heading: int = 0,
    row_ids: Sequence[int] | None = None,
) -> Markup:
    """A table that scrolls sideways where it is wide.

    Args:
        header: the columns' names.
        rows: their cells.
        caption: what the table is, for screen readers.
        first_number: columns from this one on hold numbers.
        heading: the column that names its row.
        row_ids: numbers of the contenders in the rows, by which the page hides those that are not chosen.
    """
    return render(
        "table.html",
        header=header,
        rows=rows,
        caption=caption,
        first_number=first_number,
        heading=heading,
        row_ids=row_ids,
    )


def bar(low: float, high: float, at: float | None = None) -> Markup:
    """A range within 0..1, with a mark in it; the number stands beside it, so it is not read aloud."""
    return render("bar.html", low=low, high=high, at=at)


def breakable(name: str) -> Markup:
    """A long name that may break between its words, and nowhere else."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_@-])", name))
