"""Figures for paper: widths, who is drawn, and that contenders look different and stand near their own N."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.statistics import Analysis, Contender, CurvePoint, analyse
from pvrbench.benchmark.reporting.figure import (
    COLUMN,
    MOST_DRAWN,
    PAGE,
    draw_figures,
    drawn_styles,
    num_columns,
    spread,
)
from pvrbench.benchmark.reporting.style import styles_of


def analysis_of(names: list[str]) -> Analysis:
    """An analysis that holds one point of each encoder."""
    half = Interval(0.5, 0.4, 0.6)
    points = [CurvePoint(Contender(name, "mean", "mlp"), "task", 5, half, 9) for name in names]
    return Analysis(tuple(points), (), (), ())


def test_sixty_four_contenders_all_look_different() -> None:
    styles = styles_of(analysis_of([f"encoder_{index:02}" for index in range(64)])).values()
    assert len({(style.colour, style.marker) for style in styles}) == 64


@pytest.mark.parametrize(("num_demos", "count"), [([5], 3), ([5, 10, 25], 4), ([20, 25], 40)])
def test_points_stay_nearer_to_their_own_n_than_to_the_next(num_demos: list[int], count: int) -> None:
    factors = spread(num_demos, count)
    assert len(set(factors)) == count
    gap = min((math.log(high / low) for low, high in pairwise(num_demos)), default=math.log(2))
    assert max(abs(math.log(factor)) for factor in factors) < gap / 2


def test_of_many_contenders_the_best_and_the_references_are_drawn(tmp_path: Path) -> None:
    many = analysis_of([*(f"encoder_{index:02}" for index in range(MOST_DRAWN + 3)), "oracle"])
    drawn, num_hidden = drawn_styles(many)
    assert [who.encoder for who in drawn][-2:] == [f"encoder_{MOST_DRAWN - 1:02}", "oracle"]
    assert num_hidden == 3
    draw_figures(many, tmp_path)
    assert f"the best {MOST_DRAWN} of {MOST_DRAWN + 3}" in (tmp_path / "curves.svg").read_text()


def test_few_places_of_a_figure_stay_empty() -> None:
    assert [num_columns(number) for number in (1, 2, 3, 4, 5, 6, 8, 9)] == [1, 2, 3, 4, 3, 3, 4, 3]


def test_figures_have_the_widths_of_a_page_and_a_column(made_up_run: Path, tmp_path: Path) -> None:
    draw_figures(analyse(load_runs([made_up_run])[0]), tmp_path)
    for name, inches in (("curves", PAGE), ("overall", COLUMN)):
        svg = (tmp_path / f"{name}.svg").read_text()
        width = re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)
        assert width is not None
        assert float(width[1]) == pytest.approx(72 * inches)
        assert "demonstrations</text>" in svg, "text must stay text"
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
