"""Records -> estimates, intervals, paired tests and ranks. No torch, no simulator; resampling is seeded.

A contender is an (encoder, readout, head). Its score is the area under success against log N, averaged over tasks.
Tasks are taken as they are, not as a sample of all tasks, except where a field says `population`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pvrbench.benchmark.analysis.cube import Contender, Cube
from pvrbench.benchmark.analysis.estimates import (
    LEVEL,
    Interval,
    demos_to_reach,
    interquartile_interval,
    mean_interval,
    population_interval,
)
from pvrbench.benchmark.analysis.layout import Array, by_state, counted, weighted
from pvrbench.benchmark.analysis.pairing import compare_family, holm, sign_flip_tests
from pvrbench.benchmark.records.schema import CellRecord

# Success rates for which the demonstrations needed are given.
TARGETS = (0.25, 0.5, 0.75)

ONE_SEED = (
    "There is one training seed, so the variation between training runs is unknown. Intervals and p-values hold for "
    "these training runs only, and no ranks are given."
)

SHARED_DEMOS = (
    "At N = {number} any two training seeds share {share:.0%} of their demonstrations on average, because the pool "
    "holds {pool}. Intervals at this N include only a part of the variation between sets of demonstrations."
)

SAME_DEMOS = (
    "At N = {number} all training seeds use the same demonstrations, because the pool holds no more. Intervals at this "
    "N do not include the variation between sets of demonstrations."
)

# Degrees of freedom between training runs, tasks x (seeds - 1), from which the limit on false differences holds in
# simulation; see docs/statistics.md.
ENOUGH_FREEDOM = 6

FEW_RUNS = (
    "There are few training runs ({tasks}, {seeds} seeds), so the limit of 5 % on false differences is not guaranteed. "
    "Simulations reached {worst} % where one encoder varied much more between training runs than the others. Three "
    "tasks with three seeds keep the limit."
)
WORST_OF_FEW_RUNS = 9


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
        permutation_p_value: of the sign-flip test over the states, for these training runs alone; not corrected.
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
    """

    points: tuple[CurvePoint, ...]
    ranking: tuple[Ranked, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    reaches: tuple[Reach, ...] = ()
    groups: tuple[tuple[Contender, ...], ...] = ()


def analyse(records: Sequence[CellRecord]) -> Analysis:
    """Estimates from sound, mutually comparable records, whatever their order."""
    warnings = _failures(records)
    cube = Cube([record for record in records if record.failure is None and record.episodes])
    if not cube.contenders:
        return Analysis((), (), (), tuple(warnings))
    complete, known = cube.complete_contenders(), _pretrained_on(records)
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
    comparisons = _compare({who: values for who, values in outcomes.items() if not who.is_reference}, cube.weights)
    warnings += _limits(cube, len(comparisons), {record.settings.demo_pool for record in records})
    has_ranks = len(cube.seeds) > 1
    points, ranking = _points(cube), _rank(outcomes, cube.weights, comparisons, has_ranks=has_ranks)
    groups = _groups(ranking, comparisons) if has_ranks else ()
    return Analysis(points, ranking, comparisons, tuple(warnings), _reaches(points), groups)


def _failures(records: Sequence[CellRecord]) -> list[str]:
    """What failed, in words."""
    warnings: list[str] = []
    failed = [record for record in records if record.failure is not None]
    if failed:
        names = ", ".join(sorted({record.cell.encoder for record in failed}))
        warnings.append(f"{len(failed)} cells have no episodes because their training failed ({names}).")
    reasons = [episode.failure for record in records for episode in record.episodes if episode.failure is not None]
    if reasons:
        warnings.append(
            f"{len(reasons)} episodes were given up and count as failures. The first reason: {min(reasons)}"
        )
    return warnings


def _pretrained_on(records: Sequence[CellRecord]) -> dict[tuple[str, ...], list[str]]:
    """The encoders that were pretrained on pictures of evaluated tasks, by these tasks."""
    found: dict[str, set[str]] = {}
    for record in records:
        tasks = record.provenance.encoder.get("pretraining_tasks")
        if isinstance(tasks, list) and record.cell.task in tasks:
            found.setdefault(record.cell.encoder, set()).add(record.cell.task)
    alike: dict[tuple[str, ...], list[str]] = {}
    for encoder in sorted(found):
        alike.setdefault(tuple(sorted(found[encoder])), []).append(encoder)
    return alike


def _limits(cube: Cube, num_pairs: int, pools: Collection[int]) -> list[str]:
    """What the size of the run does not allow to conclude, in words."""
    num_tasks, num_seeds = len(cube.tasks), len(cube.seeds)
    if num_seeds == 1:
        return [ONE_SEED]
    warnings: list[str] = []
    if num_pairs > 1 and num_tasks * (num_seeds - 1) < ENOUGH_FREEDOM:
        tasks = f"{num_tasks} task{'s' * (num_tasks > 1)}"
        warnings.append(FEW_RUNS.format(tasks=tasks, seeds=num_seeds, worst=WORST_OF_FEW_RUNS))
    pool = max(pools)
    for number in cube.num_demos:
        if number == pool:
            warnings.append(SAME_DEMOS.format(number=number))
        elif 2 * number > pool:
            warnings.append(SHARED_DEMOS.format(number=number, share=number / pool, pool=pool))
    return warnings


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
