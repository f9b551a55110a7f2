"""Two contenders on identical tasks, seeds and initial states: differences, tests, correction for many pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from pvrbench.benchmark.analysis.estimates import LEVEL, Interval, Spread, clustered_spread
from pvrbench.benchmark.analysis.layout import Array, by_state, counted, filled, in_common, weighted
from pvrbench.benchmark.analysis.shrinkage import moderated_spreads

NUM_PERMUTATIONS = 9999


@dataclass(frozen=True, slots=True)
class PairResult:
    """Paired difference of two contenders.

    Attributes:
        difference: of the mean scores, in -1..1, with its interval.
        p_value: two-sided, for training runs and states like these.
        probability_of_improvement: that a training run of the first beats one of the second on a task.
    """

    difference: Interval
    p_value: float
    probability_of_improvement: float


def compare_family(
    outcomes: Array, weights: Sequence[float] | Array, level: float = LEVEL
) -> dict[tuple[int, int], PairResult]:
    """All pairs of some contenders, each on the states that both evaluated.

    With three contenders or more the variances of the pairs are moderated by one another, see `shrinkage.py`. A single
    pair has its own variance alone, as in `paired_difference`.

    Args:
        outcomes: `contenders x N x tasks x seeds x states`, NaN where nothing was evaluated.
        weights: of each N in the score.
        level: confidence of the intervals.
    """
    pairs = list(combinations(range(len(outcomes)), 2))
    if not pairs:
        return {}
    shared = [in_common(outcomes[first], outcomes[second]) for first, second in pairs]
    scores = [(weighted(first, weights), weighted(second, weights)) for first, second in shared]
    # A score rests on as many states as were evaluated at the N that has the fewest.
    counts = np.stack([counted(first).min(axis=0) for first, _ in shared])
    differences = np.stack([first - second for first, second in scores])
    if len(pairs) == 1:
        spreads = [clustered_spread(differences[0], counts[0])]
    else:
        spreads = moderated_spreads(differences, len(outcomes), counts.min(axis=0))
    return {
        pair: PairResult(*_tested(first, second, spread, number, level), probability_of_improvement(first, second))
        for pair, (first, second), spread, number in zip(pairs, scores, spreads, counts, strict=True)
    }


def paired_difference(first: Array, second: Array, level: float = LEVEL) -> tuple[Interval, float]:
    """Difference of two mean scores on identical tasks, seeds and states, with its interval and two-sided p-value.

    It rests on this pair's own variance; among many contenders use `compare_family`.

    Args:
        first: `tasks x seeds x states`, NaN where nothing was evaluated.
        second: the same of the other; the states that both evaluated are compared.
        level: confidence of the interval.
    """
    first, second = in_common(first, second)
    counts = counted(first)
    first, second = filled(first), filled(second)
    return _tested(first, second, clustered_spread(first - second, counts), counts, level)


def _tested(first: Array, second: Array, spread: Spread, counts: Array, level: float) -> tuple[Interval, float]:
    """Interval and p-value of a difference whose spread is known.

    One training run on one task with outcomes of 0 and 1 is tested by McNemar's exact test, all else by Student's
    distribution. Where the differences have no variance there is nothing to divide by. No difference at all has p = 1.
    One and the same difference everywhere is tested by the sign test over the states.
    """
    difference = first - second
    num_tasks, num_seeds, _ = difference.shape
    estimate = float(difference.mean())
    if spread.variance == 0:
        p_value = 1.0 if estimate == 0 else 2.0 ** (1 - int(counts.min(axis=1).sum()))
        return Interval(estimate, estimate, estimate), p_value
    error = math.sqrt(spread.variance)
    reach = float(special.stdtrit(spread.freedom, 0.5 + level / 2)) * error
    if num_tasks == num_seeds == 1 and np.isin((first, second), (0, 1)).all():
        p_value = mcnemar(first.ravel(), second.ravel())
    else:
        p_value = float(2 * special.stdtr(spread.freedom, -abs(estimate) / error))
    return Interval(estimate, max(-1.0, estimate - reach), min(1.0, estimate + reach)), p_value


def mcnemar(first: Array, second: Array) -> float:
    """Two-sided p-value of McNemar's exact test for outcomes of two policies on the same initial states.

    Args:
        first: whether the one solved each state.
        second: whether the other did.

    Source: McNemar 1947, Note on the sampling error of the difference between correlated proportions; binomial tails.
    """
    one, other = np.asarray(first, bool), np.asarray(second, bool)
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return min(1.0, 2 * float(special.bdtr(min(only_one, only_other), only_one + only_other, 0.5)))


def permutation_tests(differences: Sequence[Array], seed: int = 0) -> list[float]:
    """`sign_flip_tests` of differences `tasks x seeds x states`, NaN where nothing was evaluated."""
    return sign_flip_tests([by_state(difference[None], [1.0]) for difference in differences], seed)


def sign_flip_tests(differences: Sequence[Array], seed: int = 0) -> list[float]:
    """Two-sided p-values of sign-flip tests, for these training runs: no hypothesis about other seeds is tested.

    If the trained policies of two contenders are equally good, the sign of a state's difference (all seeds together) is
    as likely plus as minus. Nothing else is assumed of the distribution.

    Args:
        differences: what each state adds to the difference, `tasks x states` of each pair, all of one shape; the same
            flips are used for all.
        seed: the same seed gives the same flips.

    Source: Phipson and Smyth 2010, Permutation p-values should never be zero, for counting the observed one.
    """
    if not differences:
        return []
    columns = np.stack([difference.ravel() for difference in differences], axis=1)
    generator = np.random.default_rng(seed)
    signs = generator.choice(np.array([-1.0, 1.0]), (NUM_PERMUTATIONS, len(columns)))
    flipped = np.abs(signs @ columns)
    # Sums of the same numbers in another order differ in the last bits, which must not break a tie.
    as_large = flipped >= np.abs(columns.sum(axis=0)) - 1e-9
    return [float(count) for count in (1 + as_large.sum(axis=0)) / (1 + NUM_PERMUTATIONS)]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing all of them: one false difference or more is found with probability 5 % at most.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def probability_of_improvement(first: Array, second: Array) -> float:
    """Probability that a training run of the first beats one of the second on a task; ties count one half.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice, section 4.3.
    """
    ours: Array = first.mean(axis=2)[:, :, None]
    theirs: Array = second.mean(axis=2)[:, None, :]
    # Means of equal outcomes at different N may differ in the last bits.
    ties: Array = np.isclose(ours, theirs)
    return float(np.where(ties, 0.5, ours > theirs).mean())
