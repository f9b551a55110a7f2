"""Interval of a ratio of two mean success rates on identical tasks, seeds and states."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

from pvrbench.benchmark.analysis.estimates import LEVEL, Interval, clustered_spread, mean_interval
from pvrbench.benchmark.analysis.layout import Array

# A ratio above it is reported as unbounded, and halvings that find an end of an interval.
LARGEST_RATIO, NUM_HALVINGS = 8.0, 18


def ratio_interval(numerator: Array, denominator: Array, counts: Array | None = None, level: float = LEVEL) -> Interval:
    """Ratio of two mean success rates with its interval, by Fieller's theorem.

    The interval holds every ratio r for which the mean of `numerator - r * denominator` is not significantly different
    from zero, by the clustered variance over seeds and states; the pairs of outcomes keep their correlation. Where all
    outcomes of the numerator are alike that variance is no guide, and the interval of its mean is divided by the mean
    of the denominator.

    Args:
        numerator: full layout `tasks x seeds x states`.
        denominator: the same of the other.
        counts: `tasks x seeds`, on how many states each training run was evaluated; None where on all.
        level: confidence.

    Returns:
        NaN where the denominator is zero; an infinite upper limit where it may be zero.

    Source: Fieller 1954, Some problems in interval estimation, section 2.
    """
    mean = float(denominator.mean())
    if mean == 0.0:
        return Interval(math.nan, math.nan, math.nan)
    estimate = float(numerator.mean()) / mean

    def is_consistent(ratio: float) -> bool:
        rest = numerator - ratio * denominator
        spread = clustered_spread(rest, counts)
        reach = float(special.stdtrit(spread.freedom, 0.5 + level / 2)) * math.sqrt(spread.variance)
        return abs(float(rest.mean())) <= reach + 1e-12

    low, high = _edge(is_consistent, estimate, 0.0), _edge(is_consistent, estimate, LARGEST_RATIO)
    if (numerator == numerator.flat[0]).all() and (numerator != denominator).any():
        alike = mean_interval(numerator, level, counts)
        low, high = min(low, alike.low / mean), max(high, alike.high / mean)
    return Interval(estimate, low, math.inf if high >= LARGEST_RATIO else high)


def _edge(is_consistent: Callable[[float], bool], inside: float, outside: float) -> float:
    """The end of an interval between a ratio within it and one that may be beyond it."""
    if is_consistent(outside):
        return outside
    for _ in range(NUM_HALVINGS):
        middle = (inside + outside) / 2
        if is_consistent(middle):
            inside = middle
        else:
            outside = middle
    return inside
