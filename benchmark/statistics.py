"""Records -> estimates, intervals, paired tests and ranks. No torch, no simulator, no random numbers.

A contender is an (encoder, readout, head). Its score is the area under success against log N, averaged over tasks.
Tasks are taken as they are, not as a sample of all tasks: intervals speak of these tasks. Two things vary: the initial
states, shared by all contenders, and the training seeds. Variances are clustered by both, so that the same state seen
by three seeds does not count as three independent episodes, nor fifty episodes of one seed as fifty trainings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats import multitest as untyped_multitest
from statsmodels.stats import proportion as untyped_proportion

from benchmark.records import CellRecord

multitest: Any = untyped_multitest
proportion: Any = untyped_proportion

Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 0.95

# Encoders that bound the scale rather than compete.
REFERENCES = ("oracle", "proprio", "constant")


@dataclass(frozen=True, slots=True, order=True)
class Contender:
    """What is ranked."""

    encoder: str
    readout: str
    head: str

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        return self.encoder if self.encoder in REFERENCES else f"{self.encoder} · {self.readout}"

    @property
    def is_reference(self) -> bool:
        """Whether it bounds the scale (simulator state, no image) rather than competes."""
        return self.encoder in REFERENCES


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Success of a contender at one N, on one task or (`task` None) averaged over tasks."""

    contender: Contender
    task: str | None
    num_demos: int
    success: Interval
    num_episodes: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """A contender's place.

    Attributes:
        contender: who.
        score: area under success against log N, averaged over tasks, in 0..1.
        best_rank: no contender beyond this rank is significantly better.
        worst_rank: all contenders beyond this rank are significantly worse.
        gain: (score - proprio) / (oracle - proprio), None where the run has not both.
    """

    contender: Contender
    score: Interval
    best_rank: int
    worst_rank: int
    gain: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired difference of two contenders' scores on identical initial states, Holm-corrected over all pairs."""

    first: Contender
    second: Contender
    difference: Interval
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that a report shows.

    Attributes:
        points: success against N, by task and overall.
        ranking: contenders and references, best score first.
        comparisons: all pairs of contenders.
        warnings: what was left out, in words.
    """

    points: tuple[CurvePoint, ...]
    ranking: tuple[Ranked, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]


def wilson(num_successes: float, num_trials: float, level: float = LEVEL) -> Interval:
    """Wilson score interval of a proportion; counts may be effective ones."""
    if num_trials <= 0:
        return Interval(math.nan, 0.0, 1.0)
    low, high = proportion.proportion_confint(num_successes, num_trials, alpha=1 - level, method="wilson")
    return Interval(num_successes / num_trials, float(low), float(high))


def log_weights(num_demos: Sequence[int]) -> Array:
    """Weights of the trapezoid rule over log N, summing to 1; a single N has weight 1."""
    if len(num_demos) == 1:
        return np.ones(1)
    gaps = np.diff(np.log(num_demos))
    weights = np.zeros(len(num_demos))
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    return weights / weights.sum()


def clustered_variance(values: Array) -> tuple[float, int]:
    """Variance of the mean of values `tasks x seeds x states`, clustered by seed and by state within each task.

    Returns:
        The variance, and the degrees of freedom to use with it.

    Source: Cameron, Gelbach and Miller 2011, Robust inference with multiway clustering; never below either one-way
    variance.
    """
    num_tasks, num_seeds, num_states = values.shape
    centred = values - values.mean(axis=(1, 2), keepdims=True)

    def of_means(means: Array, count: int) -> float:
        return float((means**2).sum(axis=1).mean() / (count * max(1, count - 1)))

    by_state = of_means(centred.mean(axis=1), num_states)
    by_seed = of_means(centred.mean(axis=2), num_seeds) if num_seeds > 1 else 0.0
    by_cell = of_means(centred.reshape(num_tasks, -1), num_seeds * num_states)
    variance = max(by_state + by_seed - by_cell, by_state, by_seed) / num_tasks
    freedom = num_tasks * (num_states - 1)
    if by_seed > by_state:
        freedom = num_tasks * (num_seeds - 1)
    return variance, max(1, freedom)


def mean_interval(values: Array, level: float = LEVEL) -> Interval:
    """Interval of a mean success of values `tasks x seeds x states` in 0..1.

    A Wilson interval at the number of trials that the clustered variance amounts to; where that variance is no guide
    (all episodes alike) the number of distinct initial states.
    """
    num_tasks, _, num_states = values.shape
    estimate = float(values.mean())
    variance, freedom = clustered_variance(values)
    distinct = num_tasks * num_states
    trials = min(estimate * (1 - estimate) / variance, values.size) if variance > 0 else distinct
    # Few clusters make the variance itself uncertain, which Student's distribution allows for.
    widening = (stats.norm.ppf(0.5 + level / 2) / stats.t.ppf(0.5 + level / 2, freedom)) ** 2
    trials = max(1.0, float(trials * widening))
    return wilson(estimate * trials, trials, level)


def analyse(records: Sequence[CellRecord]) -> Analysis:
    """Estimates from sound, mutually comparable records, whatever their order."""
    warnings: list[str] = []
    failed = [record for record in records if record.failure is not None]
    if failed:
        names = ", ".join(sorted({record.cell.encoder for record in failed}))
        warnings.append(f"{len(failed)} cells have no episodes because their training failed ({names}).")
    episodes = sum(episode.failure is not None for record in records for episode in record.episodes)
    if episodes:
        warnings.append(f"{episodes} episodes ended in a simulator failure and count as not solved.")
    cube = _Cube([record for record in records if record.failure is None])
    if not cube.contenders:
        return Analysis((), (), (), tuple(warnings))
    complete = cube.complete_contenders()
    warnings += [
        f"{contender.label} ({contender.head}) lacks some cells; it has curves but no rank."
        for contender in cube.contenders
        if contender not in complete
    ]
    scores = {contender: cube.scores(contender) for contender in complete}
    comparisons = _compare({who: values for who, values in scores.items() if not who.is_reference})
    return Analysis(cube.points(), _rank(scores, comparisons), comparisons, tuple(warnings))


class _Cube:
    """Success by contender, task, N, seed and initial state."""

    def __init__(self, records: Sequence[CellRecord]) -> None:
        self.success: dict[tuple[Contender, str, int], dict[int, Array]] = {}
        for record in sorted(records, key=lambda record: record.cell.slug):
            cell = record.cell
            who = Contender(cell.encoder, cell.readout, cell.head)
            place = f"{cell.task} ({cell.camera})"
            outcome = np.array([episode.success for episode in record.episodes], float)
            self.success.setdefault((who, place, cell.num_demos), {})[cell.seed] = outcome
        self.contenders = sorted({key[0] for key in self.success})
        self.tasks = sorted({key[1] for key in self.success})
        self.num_demos = sorted({key[2] for key in self.success})
        self.seeds = sorted({seed for cells in self.success.values() for seed in cells})

    def complete_contenders(self) -> list[Contender]:
        """Those with every task, N and seed of the run."""
        return [
            who
            for who in self.contenders
            if all(
                set(self.success.get((who, task, number), {})) == set(self.seeds)
                for task in self.tasks
                for number in self.num_demos
            )
        ]

    def scores(self, who: Contender) -> Array:
        """Area under success against log N, by task, seed and state."""
        weights = log_weights(self.num_demos)
        return np.stack(
            [
                sum(
                    weight * np.stack([self.success[who, task, number][seed] for seed in self.seeds])
                    for weight, number in zip(weights, self.num_demos, strict=True)
                )
                for task in self.tasks
            ]
        )

    def points(self) -> tuple[CurvePoint, ...]:
        """Curves by task, and over tasks where a contender has all of them."""
        points: list[CurvePoint] = []
        for who in self.contenders:
            for number in self.num_demos:
                by_task: list[Array] = []
                for task in self.tasks:
                    cells = self.success.get((who, task, number))
                    if cells:
                        values = np.stack([cells[seed] for seed in sorted(cells)])
                        by_task.append(values)
                        points.append(CurvePoint(who, task, number, mean_interval(values[None]), values.size))
                if len(by_task) == len(self.tasks) and len({values.shape for values in by_task}) == 1:
                    together = np.stack(by_task)
                    points.append(CurvePoint(who, None, number, mean_interval(together), together.size))
        return tuple(points)


def _compare(scores: Mapping[Contender, Array]) -> tuple[Comparison, ...]:
    pairs = list(combinations(sorted(scores), 2))
    if not pairs:
        return ()
    results = [paired_difference(scores[first], scores[second]) for first, second in pairs]
    adjusted: Array = multitest.multipletests([p_value for _, p_value in results], method="holm")[1]
    return tuple(
        Comparison(first, second, difference, p_value, float(corrected))
        for (first, second), (difference, p_value), corrected in zip(pairs, results, adjusted, strict=True)
    )


def paired_difference(first: Array, second: Array, level: float = LEVEL) -> tuple[Interval, float]:
    """Difference of two mean scores on identical tasks, seeds and states, with its interval and two-sided p-value.

    Where the differences have no variance there is nothing to divide by: none at all is no difference (p = 1), and one
    and the same everywhere is tested by the sign test over the initial states.
    """
    difference = first - second
    estimate = float(difference.mean())
    variance, freedom = clustered_variance(difference)
    if variance == 0:
        p_value = 1.0 if estimate == 0 else 2.0 ** (1 - difference.shape[0] * difference.shape[2])
        return Interval(estimate, estimate, estimate), p_value
    error = math.sqrt(variance)
    reach = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(estimate) / error, freedom))
    return Interval(estimate, max(-1.0, estimate - reach), min(1.0, estimate + reach)), p_value


def _rank(scores: Mapping[Contender, Array], comparisons: Sequence[Comparison]) -> tuple[Ranked, ...]:
    better: dict[Contender, int] = dict.fromkeys(scores, 0)
    worse: dict[Contender, int] = dict.fromkeys(scores, 0)
    for comparison in comparisons:
        if comparison.adjusted_p_value < 1 - LEVEL:
            winner, loser = comparison.first, comparison.second
            if comparison.difference.estimate < 0:
                winner, loser = loser, winner
            better[loser] += 1
            worse[winner] += 1
    competing = [who for who in scores if not who.is_reference]
    means = {who: float(values.mean()) for who, values in scores.items()}
    floor = next((means[who] for who in scores if who.encoder == "proprio"), None)
    ceiling = next((means[who] for who in scores if who.encoder == "oracle"), None)
    ranked: list[Ranked] = []
    for who in sorted(scores, key=lambda who: (-means[who], who)):
        gain = None
        if floor is not None and ceiling is not None and ceiling > floor:
            gain = (means[who] - floor) / (ceiling - floor)
        interval = mean_interval(scores[who])
        ranked.append(Ranked(who, interval, 1 + better[who], len(competing) - worse[who], gain))
    return tuple(ranked)
