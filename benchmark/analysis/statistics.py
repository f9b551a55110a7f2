"""Records -> estimates, intervals, paired tests and ranks. No torch, no simulator; resampling is seeded.

A contender is an (encoder, readout, head). Its score is the area under success against log N, averaged over tasks.
Tasks are taken as they are, not as a sample of all tasks, except where a field says `population`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pvrbench.benchmark.analysis.anytime import confidence_sequence
from pvrbench.benchmark.analysis.cube import Contender, Cube
from pvrbench.benchmark.analysis.estimates import (
    LEVEL,
    Interval,
    demos_to_reach,
    interquartile_interval,
    mean_interval,
    population_interval,
)
from pvrbench.benchmark.analysis.layout import Array, by_state, counted, in_common, weighted
from pvrbench.benchmark.analysis.limits import failures, limits, pretrained_on
from pvrbench.benchmark.analysis.pairing import compare_family, holm, probability_of_improvement, sign_flip_tests
from pvrbench.benchmark.analysis.sequential import CLAIM, SEQUENTIAL, Member, compare_pairs, state_order, state_scores
from pvrbench.benchmark.records.schema import CellRecord

# Success rates for which the demonstrations needed are given.
TARGETS = (0.25, 0.5, 0.75)


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
        best_rank: one more than the number of contenders that are significantly better; None for references, and where
            one training seed does not allow ranks.
        worst_rank: the number of contenders less those that are significantly worse; None likewise.
        gain: (score - proprio) / (oracle - proprio), None where the run has not both.
        interquartile: mean of the middle half of the scores of all tasks and seeds, by the bootstrap.
        population: the score with an interval for a population of tasks; NaN limits where there is one task.
    """

    contender: Contender
    score: Interval
    best_rank: int | None
    worst_rank: int | None
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
        p_value: two-sided, for training runs and states like these.
        adjusted_p_value: the same, Holm-corrected over all pairs; the ranks rest on it.
        permutation_p_value: of the sign-flip test over the states, for these training runs alone; not corrected. NaN in
            a sequential evaluation, whose `p_value` is about these training runs itself and holds at any time.
        probability_of_improvement: that a training run of the first beats one of the second on a task.
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
        """Whether the two are significantly different."""
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
        groups: contenders that are not significantly different, best first; one may be in several groups. Empty where
            one training seed does not allow ranks.
        is_sequential: whether episodes were run until comparisons were decided, with confidence sequences as intervals.
    """

    points: tuple[CurvePoint, ...]
    ranking: tuple[Ranked, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    reaches: tuple[Reach, ...] = ()
    groups: tuple[tuple[Contender, ...], ...] = ()
    is_sequential: bool = False

    @property
    def correction(self) -> str:
        """How p-values were corrected for many pairs."""
        return "e-Holm" if self.is_sequential else "Holm"

    @property
    def intervals(self) -> str:
        """What the intervals are."""
        return "95 % confidence sequences" if self.is_sequential else "95 % intervals"


def analyse(records: Sequence[CellRecord]) -> Analysis:
    """Estimates from sound, mutually comparable records, whatever their order."""
    warnings = failures(records)
    cube = Cube([record for record in records if record.failure is None and record.episodes])
    if not cube.contenders:
        return Analysis((), (), (), tuple(warnings))
    complete, known = cube.complete_contenders(), pretrained_on(records)
    warnings += [
        f"{contender.label} ({contender.head}) lacks some cells; it has curves but no rank."
        for contender in cube.contenders
        if contender not in complete
    ]
    warnings += [
        f"Pretrained on pictures of {', '.join(tasks)}: {', '.join(names)}. They have curves but no rank here."
        for tasks, names in known.items()
    ]
    seen = {encoder for names in known.values() for encoder in names}
    complete = [contender for contender in complete if contender.encoder not in seen]
    outcomes = {contender: cube.outcomes(contender) for contender in complete}
    if any(record.settings.episode_schedule == SEQUENTIAL for record in records):
        return _analyse_sequentially(cube, outcomes, warnings)
    early = sorted({record.settings.episode_schedule for record in records if record.stopped})
    warnings += [
        f"Schedule {name} ended evaluations early. The intervals and tests here are for a fixed number of episodes, "
        "and need not hold."
        for name in early
    ]
    comparisons = _compare({who: values for who, values in outcomes.items() if not who.is_reference}, cube.weights)
    warnings += limits(cube, len(comparisons), {record.settings.demo_pool for record in records})
    has_ranks = len(cube.seeds) > 1
    points, ranking = _points(cube), _rank(outcomes, cube.weights, comparisons, has_ranks=has_ranks)
    groups = _groups(ranking, comparisons) if has_ranks else ()
    return Analysis(points, ranking, comparisons, tuple(warnings), _reaches(points), groups)


def _analyse_sequentially(cube: Cube, outcomes: Mapping[Contender, Array], warnings: Sequence[str]) -> Analysis:
    """The same with tests and intervals that hold at any stopping time."""
    num_planned = max(record.settings.num_episodes for cells in cube.cells.values() for record in cells.values())
    order = state_order(num_planned)

    def scores_of(records: Iterable[CellRecord]) -> Array:
        found = {record.cell: record.episodes for record in records}
        return state_scores(Member(tuple(found), is_compared=True), found, order)

    points = tuple(
        replace(point, success=confidence_sequence(scores_of(_records_at(cube, point)))) for point in _points(cube)
    )
    by_contender: dict[Contender, list[CellRecord]] = {who: [] for who in sorted(outcomes)}
    for (who, _, _), cells in cube.cells.items():
        if who in by_contender:
            by_contender[who] += cells.values()
    scores = {who: scores_of(found) for who, found in by_contender.items()}
    comparisons = _compare_sequentially(
        {who: values for who, values in scores.items() if not who.is_reference}, outcomes, cube.weights, num_planned
    )
    ranking = tuple(
        replace(
            item,
            score=confidence_sequence(scores[item.contender]),
            interquartile=Interval(item.interquartile.estimate, math.nan, math.nan),
            population=Interval(item.population.estimate, math.nan, math.nan),
        )
        for item in _rank(outcomes, cube.weights, comparisons, has_ranks=True)
    )
    seeds = f"{len(cube.seeds)} training seed{'s' * (len(cube.seeds) > 1)}"
    groups = _groups(ranking, comparisons)
    notes = (CLAIM.format(seeds=seeds), *warnings)
    return Analysis(points, ranking, comparisons, notes, _reaches(points), groups, is_sequential=True)


def _records_at(cube: Cube, point: CurvePoint) -> list[CellRecord]:
    """The records that a point of a curve is made of."""
    tasks = cube.tasks if point.task is None else [point.task]
    return [record for task in tasks for record in cube.cells[point.contender, task, point.num_demos].values()]


def _compare_sequentially(
    scores: Mapping[Contender, Array], outcomes: Mapping[Contender, Array], weights: Array, num_planned: int
) -> tuple[Comparison, ...]:
    comparisons: list[Comparison] = []
    for (first, second), found in compare_pairs(scores, num_planned).items():
        parts = in_common(outcomes[first], outcomes[second])
        improvement = probability_of_improvement(*(weighted(part, weights) for part in parts))
        comparisons.append(
            Comparison(first, second, found.difference, found.p_value, found.adjusted_p_value, math.nan, improvement)
        )
    return tuple(comparisons)


def _points(cube: Cube) -> tuple[CurvePoint, ...]:
    """Curves by task, and over tasks where a contender has all of them."""
    points: list[CurvePoint] = []
    for who in cube.contenders:
        for number in cube.num_demos:
            by_task = {
                task: cube.cell_outcomes(who, task, number) for task in cube.tasks if (who, task, number) in cube.cells
            }
            for task, values in by_task.items():
                own = values[:, : len(cube.columns[task])][None]
                points.append(CurvePoint(who, task, number, mean_interval(own), int(counted(own).sum())))
            if len(by_task) == len(cube.tasks) and len({values.shape for values in by_task.values()}) == 1:
                together = np.stack(list(by_task.values()))
                points.append(CurvePoint(who, None, number, mean_interval(together), int(counted(together).sum())))
    return tuple(points)


def _compare(outcomes: Mapping[Contender, Array], weights: Array) -> tuple[Comparison, ...]:
    contenders = sorted(outcomes)
    if len(contenders) < 2:
        return ()
    values = np.stack([outcomes[who] for who in contenders])
    results = compare_family(values, weights)
    flipped = sign_flip_tests([by_state(values[first] - values[second], weights) for first, second in results])
    adjusted = holm([result.p_value for result in results.values()])
    return tuple(
        Comparison(
            first=contenders[first],
            second=contenders[second],
            difference=result.difference,
            p_value=result.p_value,
            adjusted_p_value=corrected,
            permutation_p_value=permuted,
            probability_of_improvement=result.probability_of_improvement,
        )
        for ((first, second), result), corrected, permuted in zip(results.items(), adjusted, flipped, strict=True)
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
    """Longest stretches of the ranking in which no two contenders are significantly different."""
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


def _rank(
    outcomes: Mapping[Contender, Array], weights: Array, comparisons: Sequence[Comparison], *, has_ranks: bool
) -> tuple[Ranked, ...]:
    scores = {who: weighted(values, weights) for who, values in outcomes.items()}
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
        is_ranked = has_ranks and not who.is_reference
        ranked.append(
            Ranked(
                contender=who,
                score=mean_interval(scores[who], counts=counted(outcomes[who]).min(axis=0)),
                best_rank=1 + better[who] if is_ranked else None,
                worst_rank=len(competing) - worse[who] if is_ranked else None,
                gain=gain,
                interquartile=interquartile_interval(scores[who]),
                population=population_interval(scores[who]),
            )
        )
    return tuple(ranked)
