"""Success rates -> estimates with intervals. Arrays are `tasks x seeds x states`; numpy and scipy only.

Two things vary besides the task: the initial states, which all contenders share, and the training seeds. The same state
seen by three seeds does not count as three independent episodes. Fifty episodes of one training run do not count as
fifty training runs. NaN marks a state that was not evaluated; see `layout.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from pvrbench.benchmark.analysis.layout import Array, counted, equal_trials, filled

LEVEL = 0.95

# Resamples of a bootstrap: the end points of a 95 % interval are then good to a tenth of a standard error.
NUM_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Uncertainty of a mean: its variance, and the degrees of freedom with which that variance is known."""

    variance: float
    freedom: float


def wilson(num_successes: float, num_trials: float, level: float = LEVEL) -> Interval:
    """Wilson score interval of a proportion; counts may be effective ones.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if num_trials <= 0:
        return Interval(math.nan, 0.0, 1.0)
    rate = num_successes / num_trials
    squared = float(special.ndtri(0.5 + level / 2)) ** 2 / num_trials
    centre = (rate + squared / 2) / (1 + squared)
    reach = math.sqrt(squared * (rate * (1 - rate) + squared / 4)) / (1 + squared)
    return Interval(rate, max(0.0, centre - reach), min(1.0, centre + reach))


def log_weights(num_demos: Sequence[int]) -> Array:
    """Weights of the trapezoid rule over log N, summing to 1; a single N has weight 1."""
    if len(num_demos) == 1:
        return np.ones(1)
    gaps = np.diff(np.log(num_demos))
    weights = np.zeros(len(num_demos))
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    return weights / weights.sum()


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """Mean squares of the two-way layout seeds x states within each task, mean over tasks, and their freedoms.

    Each mean square is an array with one number for each leading index of the values; it is zero where one seed or one
    state cannot give it.

    Attributes:
        seeds: of the training seeds.
        states: of the initial states.
        rest: of what is left.
        size: tasks x seeds x states. A variance of the mean is a mean square divided by it.
        seed_freedom: tasks x (seeds - 1).
        state_freedom: tasks x (states - 1), of the evaluated states.
        rest_freedom: tasks x (seeds - 1) x (states - 1).
    """

    seeds: Array
    states: Array
    rest: Array
    size: int
    seed_freedom: float
    state_freedom: float
    rest_freedom: float


def mean_squares(values: Array, counts: Array | None = None) -> MeanSquares:
    """Mean squares of full layouts.

    Args:
        values: `... x tasks x seeds x states`, without NaN.
        counts: `tasks x seeds`, on how many states each training run was evaluated; None where on all.
    """
    num_tasks, num_seeds, num_states = values.shape[-3:]
    centred = values - values.mean(axis=(-2, -1), keepdims=True)
    of_seeds, of_states = centred.mean(axis=-1, keepdims=True), centred.mean(axis=-2, keepdims=True)

    def mean_square(parts: Array, repeats: int, freedom: int) -> Array:
        return np.asarray((parts**2).sum(axis=(-2, -1)).mean(axis=-1) * repeats / max(1, freedom))

    evaluated = num_tasks * num_states if counts is None else int(counts.min(axis=1).sum())
    state_freedom = float(max(1, evaluated - num_tasks))
    return MeanSquares(
        seeds=mean_square(of_seeds, num_states, num_seeds - 1),
        states=mean_square(of_states, num_seeds, num_states - 1),
        rest=mean_square(centred - of_seeds - of_states, 1, (num_seeds - 1) * (num_states - 1)),
        size=num_tasks * num_seeds * num_states,
        seed_freedom=float(max(1, num_tasks * (num_seeds - 1))),
        state_freedom=state_freedom,
        rest_freedom=max(1, num_seeds - 1) * state_freedom,
    )


def clustered_spread(values: Array, counts: Array | None = None) -> Spread:
    """Spread of the mean over seeds and states, both taken as samples, of the tasks as they are.

    Components of variance that come out negative count as zero. The degrees of freedom are Satterthwaite's. Where the
    seeds vary more than the states they are those of the seeds, since Satterthwaite's are too many when they are
    themselves estimated from three seeds. The coverage study compared this with its rivals, see `docs/statistics.md`.

    Args:
        values: a full layout.
        counts: as in `mean_squares`.

    Source: Satterthwaite 1946, An approximate distribution of estimates of variance components, equation 17.
    """
    _, num_seeds, num_states = values.shape
    found = mean_squares(values, counts)
    seeds, states, rest = float(found.seeds), float(found.states), float(found.rest)
    if num_seeds == 1:
        return Spread(states / found.size, found.state_freedom)
    if num_states == 1:
        return Spread(seeds / found.size, found.seed_freedom)
    seeds_vary, states_vary = seeds > rest, states > rest
    total = rest + max(0.0, seeds - rest) + max(0.0, states - rest)
    if seeds <= states:
        # What enters the total: each component that shows, and what is left as often as the sum needs.
        squares = seeds_vary * seeds**2 / found.seed_freedom + states_vary * states**2 / found.state_freedom
        if seeds_vary == states_vary:
            squares += rest**2 / (found.seed_freedom * (num_states - 1))
        freedom = max(1.0, total**2 / squares) if squares > 0 else found.state_freedom
    else:
        freedom = found.seed_freedom
    return Spread(total / found.size, freedom)


def mean_interval(values: Array, level: float = LEVEL, counts: Array | None = None) -> Interval:
    """Interval of a mean success in 0..1, for these tasks.

    A Wilson interval at the number of trials that the clustered variance amounts to. Where all episodes end alike that
    variance is no guide, and the number of distinct initial states is used.

    Args:
        values: `tasks x seeds x states`, NaN where nothing was evaluated.
        level: confidence.
        counts: `tasks x seeds`, on how many states each training run was evaluated, for a layout that is filled
            already; None to count the values that are not NaN.
    """
    counts = counted(values) if counts is None else counts
    values = filled(values)
    estimate = float(values.mean())
    spread = clustered_spread(values, counts)
    distinct = equal_trials(counts.max(axis=1))
    most = equal_trials(counts)
    trials = min(estimate * (1 - estimate) / spread.variance, most) if spread.variance > 0 else distinct
    # Few clusters make the variance itself uncertain, which Student's distribution allows for.
    tail = 0.5 + level / 2
    trials = max(1.0, float(trials * (special.ndtri(tail) / special.stdtrit(spread.freedom, tail)) ** 2))
    return wilson(estimate * trials, trials, level)


def interquartile_mean(values: Array) -> float:
    """Mean of the middle half of the numbers, which one lucky or unlucky training moves little.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice, section 4.3.
    """
    return float(stats.trim_mean(values.ravel(), 0.25))


def resampled(values: Array, *, sample_tasks: bool, seed: int = 0) -> Array:
    """Success rates `resamples x tasks x seeds` of a hierarchical bootstrap.

    Tasks are drawn with replacement, or kept; for each of them seeds and, across these, initial states are drawn with
    replacement.

    Args:
        values: `tasks x seeds x states`.
        sample_tasks: whether the tasks stand for a population of tasks.
        seed: the same seed gives the same resamples.

    Source: Davison and Hinkley 1997, Bootstrap methods and their application, section 3.8.
    """
    num_tasks, num_seeds, num_states = values.shape
    generator = np.random.default_rng(seed)
    shape = (NUM_RESAMPLES, num_tasks)
    tasks = generator.integers(0, num_tasks, shape) if sample_tasks else np.tile(np.arange(num_tasks), (shape[0], 1))
    # How often each state is drawn: one count for all seeds of the task, since they share their states.
    counts = generator.multinomial(num_states, np.full(num_states, 1 / num_states), shape)
    rates: Array = np.einsum("rtse,rte->rts", values[tasks], counts) / num_states
    seeds: Array = generator.integers(0, num_seeds, rates.shape)
    return np.take_along_axis(rates, seeds, axis=2)


def middle(samples: Array, level: float) -> tuple[float, float]:
    """Limits of the middle `level` of some numbers."""
    limits: Array = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2])
    return float(limits[0]), float(limits[1])


def population_interval(values: Array, level: float = LEVEL, seed: int = 0) -> Interval:
    """Interval of the mean for a population of tasks, by the hierarchical bootstrap; NaN limits for a single task.

    A bootstrap of few things is too narrow by the factor sqrt(n / (n - 1)) and by Student's distribution; the
    interval is stretched about the estimate by both, n being the number of tasks.
    """
    estimate, num_tasks = float(values.mean()), values.shape[0]
    if num_tasks == 1:
        return Interval(estimate, math.nan, math.nan)
    low, high = middle(resampled(values, sample_tasks=True, seed=seed).mean(axis=(1, 2)), level)
    tail = 0.5 + level / 2
    student = float(special.stdtrit(num_tasks - 1, tail) / special.ndtri(tail))
    stretch = math.sqrt(num_tasks / (num_tasks - 1)) * student
    return Interval(
        estimate, max(0.0, estimate - stretch * (estimate - low)), min(1.0, estimate + stretch * (high - estimate))
    )


def interquartile_interval(values: Array, level: float = LEVEL, seed: int = 0) -> Interval:
    """Interquartile mean of the success rates of all tasks and seeds, with its bootstrap interval for these tasks."""
    rates = resampled(values, sample_tasks=False, seed=seed).reshape(NUM_RESAMPLES, -1)
    return Interval(
        interquartile_mean(values.mean(axis=2)), *middle(np.asarray(stats.trim_mean(rates, 0.25, axis=1)), level)
    )


def demos_to_reach(target: float, curve: Sequence[tuple[int, Interval]]) -> Interval:
    """Demonstrations at which a curve first reaches a success rate, log N interpolated; infinite if it does not.

    The low limit is where the upper limits of the curve reach the target, the high limit where the lower ones do.

    Args:
        target: success rate in 0..1.
        curve: number of demonstrations and success, smallest number first.
    """
    numbers = [number for number, _ in curve]
    reached = [
        _first_crossing(target, numbers, [getattr(success, part) for _, success in curve])
        for part in ("estimate", "high", "low")
    ]
    return Interval(*reached)


def _first_crossing(target: float, numbers: Sequence[int], rates: Sequence[float]) -> float:
    """The number at which linear interpolation over log N first reaches the target."""
    if rates[0] >= target:
        return float(numbers[0])
    for index in range(1, len(numbers)):
        before, after = rates[index - 1], rates[index]
        if after >= target:
            share = (target - before) / (after - before)
            return float(math.exp(math.log(numbers[index - 1]) * (1 - share) + math.log(numbers[index]) * share))
    return math.inf
