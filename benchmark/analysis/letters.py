"""Which contenders are not significantly different, in letters and in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from string import ascii_lowercase

from pvrbench.benchmark.analysis.statistics import Analysis, Comparison, Contender

# a, b, ..., z, aa, ab, ...: more than there are groups.
_LETTERS = ["".join(word) for length in (1, 2, 3) for word in product(ascii_lowercase, repeat=length)]


def letters_of(order: Sequence[Contender], comparisons: Collection[Comparison]) -> Mapping[Contender, str]:
    """The compact letter display: two contenders share a letter exactly if they are not significantly different.

    Args:
        order: the compared contenders, best first; the best has the letter a.
        comparisons: of all pairs.

    Source: Piepho (2004), An algorithm for a letter-based representation of all-pairwise comparisons, insert and
    absorb.
    """
    groups = [frozenset(order)]
    for pair in comparisons:
        if pair.is_significant:
            both = {pair.first, pair.second}
            split = {
                part for group in groups for part in ([group - {who} for who in both] if both <= group else [group])
            }
            groups = [group for group in split if not any(group < other for other in split)]
    place = {who: index for index, who in enumerate(order)}
    groups.sort(key=lambda group: sorted(place[who] for who in group))
    named = list(zip(_LETTERS, groups, strict=False))
    return {who: " ".join(letter for letter, group in named if who in group) for who in order}


def headline(analysis: Analysis) -> str:
    """What the ranking says, in plain words; empty where nothing is ranked."""
    competing = [item for item in analysis.ranking if not item.contender.is_reference]
    if not competing:
        return ""
    best = competing[0]
    score = f"{best.contender.label} has the highest score, {100 * best.score.estimate:.0f} %"
    score += f" (95 % interval {100 * best.score.low:.0f} to {100 * best.score.high:.0f})."
    if len(competing) == 1:
        return score
    if best.best_rank is None:
        return f"{score} No ranks are given; the warnings say why."
    beaten = {
        who
        for pair in analysis.comparisons
        if pair.is_significant and best.contender in (pair.first, pair.second)
        for who in (pair.first, pair.second)
    }
    close = [item.contender.label for item in competing[1:] if item.contender not in beaten]
    others = len(competing) - 1
    if len(close) == others:
        return f"{score} It is not significantly better than any of the {others} others."
    text = f"{score} It is significantly better than {others - len(close)} of the {others} others."
    return f"{text} Not significantly different from it: {', '.join(close)}." if close else text
