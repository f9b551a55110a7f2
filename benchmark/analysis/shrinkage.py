"""Variances of many paired differences, each moderated by all of them (empirical Bayes).

A pair's own variance between training runs rests on few of them: six degrees of freedom with three tasks and three
seeds. Among many pairs some variance is small by luck, and that pair looks significant. Here the variances of all pairs
are taken as draws from one distribution. Each is moved towards its centre, the more the more alike they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from pvrbench.benchmark.analysis.estimates import MeanSquares, Spread, mean_squares
from pvrbench.benchmark.analysis.layout import Array

# A spread of log variances below this is no more than sampling error: one variance for all.
NO_SPREAD = 1e-3

# Newton steps; each doubles the correct digits.
NUM_STEPS = 50


@dataclass(frozen=True, slots=True)
class Prior:
    """Scaled inverse chi-square distribution of the true variances: its centre, and how much it counts."""

    variance: float
    freedom: float


def moderated_spreads(differences: Array, num_contenders: int, counts: Array | None = None) -> list[Spread]:
    """Spread of the mean of every pair's differences, its mean square of the seeds moderated by all pairs.

    The variance of a mean is the moderated mean square of the seeds plus the component of the states, if that is
    positive, divided by the size. The freedom of the moderated mean square is its own plus the prior's, and at most
    that of all contenders together. Satterthwaite's formula gives the freedom of the sum. With one seed there is
    nothing to moderate: the variance is that of the states.

    Args:
        differences: `pairs x tasks x seeds x states`, full layouts.
        num_contenders: how many contenders the pairs are made of; three or more.
        counts: as in `mean_squares`, the smallest over pairs; None where all states were evaluated.

    Source: Smyth 2004, Linear models and empirical Bayes methods for assessing differential expression, section 3,
        with two deviations: only one of two components of variance is moderated, and the prior's spread allows for
        pairs that share a contender.
    """
    found = mean_squares(differences, counts)
    _, _, num_seeds, num_states = differences.shape
    if num_seeds == 1:
        return [Spread(float(square) / found.size, found.state_freedom) for square in found.states]
    seeds, freedom = moderated(found, num_contenders)
    if num_states == 1:
        return [Spread(float(square) / found.size, freedom) for square in seeds]
    total = seeds + np.maximum(0, found.states - found.rest)
    squares = seeds**2 / freedom + found.states**2 / found.state_freedom + found.rest**2 / found.rest_freedom
    freedoms = np.maximum(1, np.divide(total**2, squares, out=np.full_like(total, freedom), where=squares > 0))
    return [Spread(float(variance) / found.size, float(known)) for variance, known in zip(total, freedoms, strict=True)]


def moderated(found: MeanSquares, num_contenders: int) -> tuple[Array, float]:
    """Moderated mean squares of the seeds, and the degrees of freedom of each."""
    own = found.seed_freedom
    prior = fit_prior(found.seeds, own, _mean_correlation(num_contenders))
    if math.isinf(prior.freedom):
        seeds = np.full_like(found.seeds, prior.variance)
    else:
        seeds = (prior.freedom * prior.variance + own * found.seeds) / (prior.freedom + own)
    return seeds, min(prior.freedom + own, (num_contenders - 1) * own)


def fit_prior(variances: Array, freedom: float, correlation: float = 0.0) -> Prior:
    """Prior of some variances, by the mean and variance of their logarithms.

    Args:
        variances: sample variances; those that are zero say nothing and are left out.
        freedom: degrees of freedom of each.
        correlation: mean correlation of two of them.

    Source: Smyth 2004, section 6.2.
    """
    positive: Array = variances[variances > 0]
    if len(positive) < 2:
        return Prior(0.0, 0.0)
    logs: Array = np.log(positive) + math.log(freedom / 2) - float(special.psi(freedom / 2))
    # Numbers that are correlated differ less among themselves than from the centre they are drawn around.
    excess = float(logs.var(ddof=1)) / (1 - correlation) - float(special.polygamma(1, freedom / 2))
    if excess <= NO_SPREAD:
        return Prior(float(positive.mean()), math.inf)
    known = 2 * _inverse_trigamma(excess)
    centre = float(logs.mean()) + float(special.psi(known / 2)) - math.log(known / 2)
    return Prior(math.exp(centre), known)


def _mean_correlation(num_contenders: int) -> float:
    """Mean correlation of the variances of two pairs: one quarter if they share a contender, else zero."""
    pairs = num_contenders * (num_contenders - 1) // 2
    return 0.25 * 2 * (num_contenders - 2) / (pairs - 1)


def _inverse_trigamma(value: float) -> float:
    """The x whose trigamma is the value, by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(NUM_STEPS):
        trigamma = float(special.polygamma(1, x))
        x += trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
    return x
