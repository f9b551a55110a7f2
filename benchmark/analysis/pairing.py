"""Two contenders on identical tasks, seeds and initial states: differences, tests, correction for many pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from pvrbench.benchmark.analysis.estimates import LEVEL, Array, Interval, clustered_spread

NUM_PERMUTATIONS = 9999


def paired_difference(first: Array, second: Array, level: float = LEVEL) -> tuple[Interval, float]:
    """Difference of two mean scores on identical tasks, seeds and states, with its interval and two-sided p-value.

    One training on one task with outcomes of 0 and 1 is tested by McNemar's exact test, all else by Student's
    distribution on the clustered variance. Where the differences have no variance there is nothing to divide by: none
    at all is no difference (p = 1), and one and the same everywhere is tested by the sign test over the states.
    """
    difference = first - second
    num_tasks, num_seeds, num_states = difference.shape
    estimate = float(difference.mean())
    spread = clustered_spread(difference)
    if spread.variance == 0:
        p_value = 1.0 if estimate == 0 else 2.0 ** (1 - num_tasks * num_states)
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
    """Two-sided p-values of sign-flip tests, for these trainings: no hypothesis about other seeds is tested.

    If two contenders' trained policies are equally good, the sign of a state's difference (all seeds together) is as
    likely plus as minus. Nothing else is supposed of the distribution.

    Args:
        differences: `tasks x seeds x states` of each pair, all of one shape; the same flips are used for all.
        seed: the same seed gives the same flips.

    Source: Phipson and Smyth 2010, Permutation p-values should never be zero, for counting the observed one.
    """
    if not differences:
        return []
    by_state = np.stack([difference.mean(axis=1).ravel() for difference in differences], axis=1)
    generator = np.random.default_rng(seed)
    signs = generator.choice(np.array([-1.0, 1.0]), (NUM_PERMUTATIONS, len(by_state)))
    flipped = np.abs(signs @ by_state)
    # Sums of the same numbers in another order differ in the last bits, which must not break a tie.
    as_large = flipped >= np.abs(by_state.sum(axis=0)) - 1e-9
    return [float(count) for count in (1 + as_large.sum(axis=0)) / (1 + NUM_PERMUTATIONS)]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing all of them, so that a single false one is found with probability 5 % at most.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def probability_of_improvement(first: Array, second: Array) -> float:
    """Probability that a training of the first beats a training of the second on a task; ties count one half.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice, section 4.3.
    """
    ours: Array = first.mean(axis=2)[:, :, None]
    theirs: Array = second.mean(axis=2)[:, None, :]
    # Means of equal outcomes at different N may differ in the last bits.
    ties: Array = np.isclose(ours, theirs)
    return float(np.where(ties, 0.5, ours > theirs).mean())
