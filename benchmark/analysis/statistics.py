"""Records -> estimates, intervals, paired tests and ranks. No torch, no simulator; resampling is seeded.

A contender is an (encoder, readout, head). Its score is the area under success against log N, averaged over tasks.
Tasks are taken as they are, not as a sample of all tasks, but where a field says `population`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pvrbench.benchmark.analysis.estimates import (
    LEVEL,
    Array,
    Interval,
    demos_to_reach,
    interquartile_interval,
    log_weights,
    mean_interval,
    population_interval,
)
from pvrbench.benchmark.analysis.pairing import holm, paired_difference, permutation_tests, probability_of_improvement
from pvrbench.benchmark.records.schema import CellRecord

# Encoders that bound the scale rather than compete.
REFERENCES = ("expert", "oracle", "proprio", "constant")

# Success rates for which the demonstrations needed are given.
TARGETS = (0.25, 0.5, 0.75)

ONE_SEED = (
    "One training seed: how much trainings differ cannot be seen. Intervals and ranks speak of these trainings, not of "
    "the encoders, and are too narrow for anything more."
)


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
        interquartile: mean of the middle half of the scores of all tasks and seeds, by the bootstrap.
        population: the score with an interval for a population of tasks; NaN limits where there is one task.
    """

    contender: Contender
    score: Interval
    best_rank: int
    worst_rank: int
    gain: float | None
    interquartile: Interval
    population: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired difference of two contenders' scores on identical initial states.

    Attributes:
        first: the one.
        second: the other, whose score is taken off.
        difference: of the scores, in -1..1.
        p_value: two-sided, for trainings and states like these.
        adjusted_p_value: the same, Holm-corrected over all pairs; the ranks rest on it.
        permutation_p_value: of the sign-flip test over the states, for these trainings alone; not corrected.
        probability_of_improvement: that a training of the first beats one of the second on a task.
    """

    first: Contender
    second: Contender
    difference: Interval
    p_value: float
    adjusted_p_value: float
    permutation_p_value: float
    probability_of_improvement: float

    @property
    def is_significant(self) -> bool:
        """Whether the two are told apart."""
        return self.adjusted_p_value < 1 - LEVEL


@dataclass(frozen=True, slots=True)
class Reach:
    """Demonstrations that a contender needs for a success rate, mean over tasks; infinite where it is not reached."""

    contender: Contender
    target: float
    num_demos: Interval


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that a report shows.

    Attributes:
        points: success against N, by task and overall.
        ranking: contenders and references, best score first.
        comparisons: all pairs of contenders.
        warnings: what was left out or cannot be concluded, in words.
        reaches: demonstrations needed, by contender and target.
        groups: contenders that cannot be told apart, best first; one may be in several groups.
    """

    points: tuple[CurvePoint, ...]
    ranking: tuple[Ranked, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    reaches: tuple[Reach, ...] = ()
    groups: tuple[tuple[Contender, ...], ...] = ()


def analyse(records: Sequence[CellRecord]) -> Analysis:
    """Estimates from sound, mutually comparable records, whatever their order."""
    warnings: list[str] = []
    failed = [record for record in records if record.failure is not None]
    if failed:
        names = ", ".join(sorted({record.cell.encoder for record in failed}))
        warnings.append(f"{len(failed)} cells have no episodes because their training failed ({names}).")
    episodes = sum(episode.failure is not None for record in records for episode in record.episodes)
    if episodes:
        reasons = {episode.failure for record in records for episode in record.episodes if episode.failure is not None}
        warnings.append(f"{episodes} episodes were given up and count as not solved; the first reason: {min(reasons)}")
    cube = _Cube([record for record in records if record.failure is None])
    if not cube.contenders:
        return Analysis((), (), (), tuple(warnings))
    complete = cube.complete_contenders()
    warnings += [
        f"{contender.label} ({contender.head}) lacks some cells; it has curves but no rank."
        for contender in cube.contenders
        if contender not in complete
    ]
    if len(cube.seeds) == 1:
        warnings.append(ONE_SEED)
    scores = {contender: cube.scores(contender) for contender in complete}
    comparisons = _compare({who: values for who, values in scores.items() if not who.is_reference})
    points, ranking = cube.points(), _rank(scores, comparisons)
    return Analysis(points, ranking, comparisons, tuple(warnings), _reaches(points), _groups(ranking, comparisons))


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
    results = [paired_difference(scores[first], scores[second]) for first, second in pairs]
    adjusted = holm([p_value for _, p_value in results])
    flipped = permutation_tests([scores[first] - scores[second] for first, second in pairs])
    return tuple(
        Comparison(
            first=first,
            second=second,
            difference=difference,
            p_value=p_value,
            adjusted_p_value=corrected,
            permutation_p_value=permuted,
            probability_of_improvement=probability_of_improvement(scores[first], scores[second]),
        )
        for (first, second), (difference, p_value), corrected, permuted in zip(
            pairs, results, adjusted, flipped, strict=True
        )
    )


def _reaches(points: Sequence[CurvePoint]) -> tuple[Reach, ...]:
    curves: dict[Contender, list[tuple[int, Interval]]] = {}
    for point in points:
        if point.task is None:
            curves.setdefault(point.contender, []).append((point.num_demos, point.success))
    return tuple(
        Reach(who, target, demos_to_reach(target, sorted(curve, key=lambda item: item[0])))
        for who, curve in sorted(curves.items())
        for target in TARGETS
    )


def _groups(ranking: Sequence[Ranked], comparisons: Sequence[Comparison]) -> tuple[tuple[Contender, ...], ...]:
    """Longest stretches of the ranking in which no two contenders are told apart."""
    apart = {frozenset((item.first, item.second)) for item in comparisons if item.is_significant}
    order = [item.contender for item in ranking if not item.contender.is_reference]
    groups: list[tuple[Contender, ...]] = []
    reached = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and all(frozenset((who, order[end])) not in apart for who in order[start:end]):
            end += 1
        if end > reached:
            groups.append(tuple(order[start:end]))
            reached = end
    return tuple(groups)


def _rank(scores: Mapping[Contender, Array], comparisons: Sequence[Comparison]) -> tuple[Ranked, ...]:
    better: dict[Contender, int] = dict.fromkeys(scores, 0)
    worse: dict[Contender, int] = dict.fromkeys(scores, 0)
    for comparison in comparisons:
        if comparison.is_significant:
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
        ranked.append(
            Ranked(
                contender=who,
                score=mean_interval(scores[who]),
                best_rank=1 + better[who],
                worst_rank=len(competing) - worse[who],
                gain=gain,
                interquartile=interquartile_interval(scores[who]),
                population=population_interval(scores[who]),
            )
        )
    return tuple(ranked)
