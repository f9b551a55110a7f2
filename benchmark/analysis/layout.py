"""Outcomes that were not all evaluated -> full layouts `tasks x seeds x states` with the same means and variances.

Records may hold different numbers of episodes. An outcome that was not evaluated is NaN. The functions here fill these
places, so that every later formula can assume a full layout. A layout without NaN is returned as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def filled(values: Array) -> Array:
    """A full layout whose mean over states, for every task and seed, is the mean of the evaluated states.

    A missing outcome becomes the mean of its training run. The deviations of evaluated outcomes from that mean are
    stretched by `sqrt(n (n - 1) / (c (c - 1)))`, for c evaluated states of n. The sample variance of a training run
    divided by n is then that of its c outcomes divided by c. Covariances between training runs through shared states
    are kept in the same way.

    Args:
        values: `... x states`, NaN where nothing was evaluated.

    Raises:
        ValueError: a training run has no evaluated state.
    """
    present = ~np.isnan(values)
    if present.all():
        return values
    num_states = values.shape[-1]
    counts = present.sum(axis=-1, keepdims=True)
    if not counts.all():
        raise ValueError("A training run has no evaluated state; leave its contender out of the comparison.")
    zeroed = np.where(present, values, 0.0)
    means = zeroed.sum(axis=-1, keepdims=True) / counts
    # A single outcome has no deviation from its mean, whatever it is multiplied by.
    stretch = np.sqrt(num_states * (num_states - 1) / np.maximum(1, counts * (counts - 1)))
    stretched = np.where(present, means + stretch * (zeroed - means), means)
    return np.where(counts == num_states, zeroed, stretched)


def counted(values: Array) -> Array:
    """Evaluated states of each training run, `...`."""
    return (~np.isnan(values)).sum(axis=-1)


def in_common(first: Array, second: Array) -> tuple[Array, Array]:
    """Both with NaN wherever one of them has it, so that pairs are compared on the states that both evaluated."""
    return np.where(np.isnan(second), np.nan, first), np.where(np.isnan(first), np.nan, second)


def weighted(outcomes: Array, weights: Sequence[float] | Array) -> Array:
    """Full layout of the weighted sum over N.

    Args:
        outcomes: `N x tasks x seeds x states`, NaN where nothing was evaluated.
        weights: one for each N.
    """
    return np.sum([weight * filled(part) for weight, part in zip(weights, outcomes, strict=True)], axis=0)


def by_state(outcomes: Array, weights: Sequence[float] | Array) -> Array:
    """What each state adds to the weighted mean, times the number of states: `tasks x states`, mean over seeds.

    A state that was not evaluated adds nothing.
    """
    present = ~np.isnan(outcomes)
    share = outcomes.shape[-1] / np.maximum(1, present.sum(axis=-1, keepdims=True))
    parts = np.where(present, outcomes, 0.0) * share
    total: Array = np.sum([weight * part for weight, part in zip(weights, parts, strict=True)], axis=0)
    return total.mean(axis=1)


def equal_trials(counts: Array) -> float:
    """Number of independent trials with which a mean over cells of unequal size would be as certain.

    All cells have equal weight; with cells of one size it is the number of all trials.
    """
    smallest = counts.min()
    return float(smallest * counts.size**2 / (smallest / counts).sum())
