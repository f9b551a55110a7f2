"""Tests and intervals that hold at any stopping time: betting e-processes and confidence sequences. numpy only.

One number for each initial state comes in, in the order in which states were evaluated. A gambler bets on these
numbers under a null hypothesis that makes the game fair. The wealth is then an e-process: whatever rule ends the game,
it exceeds 1 / alpha with probability alpha at most (Ville 1939). So one may look after every state, and stop at will.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial import legendre

from pvrbench.benchmark.analysis.estimates import LEVEL, Interval
from pvrbench.benchmark.analysis.layout import Array

# Bets over which the wealth is averaged. Any number of them is valid; more of them change nothing that one sees.
NUM_BETS = 64
QUADRATURE: Any = legendre
BETS: Array = QUADRATURE.leggauss(NUM_BETS)[0]
WEIGHTS: Array = QUADRATURE.leggauss(NUM_BETS)[1] / 2

# Wealth is kept as its logarithm, and taken for this much where it is larger still: its exponential is finite.
LARGEST_LOG = 600.0

# Standard errors on each side of a mean that hold it in 99 % of cases, for many values.
NORMAL_99 = 2.58

# Halvings of an interval of length 2 when a limit is searched.
NUM_HALVINGS = 30


def log_e_process(differences: Array) -> Array:
    """Logarithm of the wealth after each state, against "the mean difference is zero", two-sided.

    The wealth is the mean over bets `b`, spread evenly over -1..1, of the product of `1 + b D`. For differences of -1,
    0 and 1 this is the beta-binomial mixture of the discordant pairs. Here D may be any number in -1..1, such as a mean
    over training seeds.

    Args:
        differences: `states`, each in -1..1, in the order of evaluation.

    Source: Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting, section 4; the
    mixture over bets is the method of mixtures of Robbins 1970.
    """
    wealth = np.cumsum(np.log1p(np.multiply.outer(BETS, differences)), axis=1)
    return _log_mean(wealth, WEIGHTS)


def largest_adjusted(log_e_values: Array) -> float:
    """The largest of some e-values, adjusted for testing all of them.

    It is at least `1 / alpha` for a family of true null hypotheses with probability alpha at most, however they depend
    on one another.

    Args:
        log_e_values: logarithms, `hypotheses`.

    Source: Vovk and Wang 2021, E-values: calibration, combination and applications, algorithm 1 (closed testing by the
    arithmetic mean), for the largest e-value.
    """
    ordered = np.exp(np.minimum(np.sort(log_e_values), LARGEST_LOG))
    smaller = np.concatenate(([0.0], np.cumsum(ordered[:-1])))
    return float(((ordered[-1] + smaller) / np.arange(1, len(ordered) + 1)).min())


def adjusted(log_e_values: Array) -> list[float]:
    """Each of some e-values adjusted for testing all of them; see `largest_adjusted`."""
    # Larger ones are of no account: a mean over a set that holds them too is larger.
    return [largest_adjusted(np.append(log_e_values[log_e_values < own], own)) for own in log_e_values]


def confidence_sequence(
    values: Sequence[float] | Array, low: float = 0.0, high: float = 1.0, level: float = LEVEL
) -> Interval:
    """The mean with an interval that holds at any stopping time.

    The interval holds every mean that no bet, at no time so far, has ruled out. Bets that the mean is higher rule out
    low means and the reverse, with half the error each, so that the set of means left is an interval.

    Args:
        values: `states`, in the order of evaluation.
        low: smallest possible value.
        high: largest possible value.
        level: probability that the interval holds the mean at all times.

    Source: Waudby-Smith and Ramdas 2024, as above, theorem 3 (hedged capital) with a mixture of bets.
    """
    found = np.asarray(values, float)
    if not len(found):
        return Interval(math.nan, low, high)
    scaled = np.clip((found - low) / (high - low) * 2 - 1, -1, 1)
    limit = math.log(2 / (1 - level))
    bottom = _lowest_mean(scaled, limit)
    top = -_lowest_mean(-scaled, limit)
    return Interval(float(found.mean()), low + (bottom + 1) / 2 * (high - low), low + (top + 1) / 2 * (high - low))


def could_still_be_decided(differences: Array, num_left: int, alpha: float) -> bool:
    """Whether the states that are left can be expected to decide a pair, if its difference is as large as it may be.

    The true difference is taken for the limit of the mean's ordinary 99 % interval that lies farther from zero, and the
    best bet is taken for known. So a pair that is given up had hardly a chance. No rule for giving up can make a false
    decision, so this one need not be exact.

    Args:
        differences: so far, `states`, each in -1..1.
        num_left: states that are left.
        alpha: probability of a false decision that is allowed.
    """
    so_far = np.log1p(np.multiply.outer(BETS, differences)).sum(axis=1)
    reach = NORMAL_99 * float(differences.std()) / math.sqrt(len(differences))
    for shift in (-reach, reach):
        growth = np.log1p(np.multiply.outer(BETS, np.clip(differences + shift, -1, 1))).mean(axis=1)
        if float((so_far + num_left * growth).max()) >= math.log(1 / alpha):
            return True
    return False


def _lowest_mean(scaled: Array, limit: float) -> float:
    """The smallest mean in -1..1 that bets on a higher one do not rule out; what they win falls as it rises."""
    bets = (BETS + 1) / 2
    below, above = -1.0, 1.0
    for _ in range(NUM_HALVINGS):
        mean = (below + above) / 2
        wins = np.cumsum(np.log1p(np.multiply.outer(bets, (scaled - mean) / (1 + mean))), axis=1)
        if float(_log_mean(wins, WEIGHTS).max()) >= limit:
            below = mean
        else:
            above = mean
    return below


def _log_mean(logs: Array, weights: Array) -> Array:
    """Logarithm of the weighted mean over the first axis of exponentials."""
    top = logs.max(axis=0)
    total: Array = top + np.log(np.einsum("bs,b->s", np.exp(logs - top), weights))
    return total
