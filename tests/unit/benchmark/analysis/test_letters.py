"""Letters and the first sentence of a report."""

from __future__ import annotations

from itertools import combinations

import pytest

from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.letters import headline, letters_of
from pvrbench.benchmark.analysis.statistics import Analysis, Comparison, Contender, Ranked

NAMES = "pqrst"


def contenders(names: str = NAMES) -> list[Contender]:
    return [Contender(name, "mean", "mlp") for name in names]


def pair(first: Contender, second: Contender, *, apart: bool) -> Comparison:
    p_value = 0.001 if apart else 0.5
    return Comparison(first, second, Interval(0.1, 0.0, 0.2), p_value, p_value, p_value, 0.5)


def family(apart: set[str], names: str = NAMES) -> list[Comparison]:
    found = combinations(contenders(names), 2)
    return [pair(one, two, apart=one.encoder + two.encoder in apart) for one, two in found]


def analysis_of(comparisons: list[Comparison], *, has_ranks: bool = True) -> Analysis:
    score = Interval(0.5, 0.4, 0.6)
    ranking = [
        Ranked(who, score, 1 if has_ranks else None, 5 if has_ranks else None, None, score, score)
        for who in contenders()
    ]
    return Analysis((), tuple(ranking), tuple(comparisons), ())


@pytest.mark.parametrize(
    "apart",
    [
        set[str](),
        {"ps", "pt", "qt"},
        # Neighbours that differ while those around them do not: no stretch of the ranking shows this.
        {"pr", "qr", "st"},
        {"".join(two) for two in combinations(NAMES, 2)},
    ],
)
def test_two_contenders_share_a_letter_exactly_if_they_are_not_significantly_different(apart: set[str]) -> None:
    letters = {who.encoder: set(text.split()) for who, text in letters_of(contenders(), family(apart)).items()}
    assert all(letters.values())
    assert "a" in letters["p"]
    for first, second in combinations(NAMES, 2):
        assert bool(letters[first] & letters[second]) == (first + second not in apart), (first, second)


def test_the_headline_says_who_is_best_and_than_whom() -> None:
    text = headline(analysis_of(family({"ps", "pt", "qt"})))
    assert text == (
        "p · mean has the highest score, 50 % (95 % interval 40 to 60). It is significantly better than 2 of the 4 "
        "others. Not significantly different from it: q · mean, r · mean."
    )
    assert "not significantly better than any of the 4 others" in headline(analysis_of(family(set())))
    every = headline(analysis_of(family({"pq", "pr", "ps", "pt"})))
    assert every.endswith("significantly better than 4 of the 4 others.")


def test_the_headline_gives_no_order_where_there_are_no_ranks() -> None:
    assert headline(analysis_of(family(set()), has_ranks=False)).endswith("No ranks are given; the warnings say why.")
    assert headline(Analysis((), (), (), ())) == ""
