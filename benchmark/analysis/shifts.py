"""Changed looks against the nominal one: what is retained, by whom, and whether the nominal ranking foretells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pvrbench.benchmark.analysis.cube import Contender, Cube
from pvrbench.benchmark.analysis.estimates import Interval, mean_interval
from pvrbench.benchmark.analysis.layout import Array, counted, in_common, weighted
from pvrbench.benchmark.analysis.pairing import compare_family, holm, paired_difference
from pvrbench.benchmark.analysis.prediction import Prediction, predict
from pvrbench.benchmark.analysis.ratio import ratio_interval
from pvrbench.benchmark.analysis.statistics import Analysis, analyse
from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.benchmark.records.schema import CellRecord

# Encoders without which there is no ranking that could agree.
FEWEST_ENCODERS = 3


@dataclass(frozen=True, slots=True)
class Retained:
    """What a contender retains of its score under a look; the score is that of the ranking.

    Attributes:
        contender: who.
        look: the look.
        nominal: score under the nominal look, on the same tasks and states.
        shifted: score under the look.
        ratio: shifted over nominal; NaN where the nominal score is zero.
        difference: shifted minus nominal, paired over seeds and states.
        p_value: of the difference, two-sided.
    """

    contender: Contender
    look: str
    nominal: Interval
    shifted: Interval
    ratio: Interval
    difference: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class Interaction:
    """Difference in differences: how much more the first contender loses under a look than the second.

    Attributes:
        look: the look.
        first: the one.
        second: the other, whose change is taken off.
        difference: of the changes (shifted minus nominal), in -2..2; negative where the first loses more.
        p_value: two-sided.
        adjusted_p_value: the same, Holm-corrected over all pairs of this look.
    """

    look: str
    first: Contender
    second: Contender
    difference: Interval
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True, slots=True)
class Shifts:
    """All that is concluded about changed looks.

    Attributes:
        retained: of every contender and reference, by look.
        interactions: of every pair of contenders, by look.
        agreements: by look, how well nominal scores foretell those under the look; None where there are fewer than
            three encoders, or all scores are the same.
        analyses: ranking with rank sets and paired differences under each look.
        warnings: what was left out.
    """

    retained: tuple[Retained, ...]
    interactions: tuple[Interaction, ...]
    agreements: Mapping[str, Prediction | None]
    analyses: Mapping[str, Analysis]
    warnings: tuple[str, ...]


def analyse_shifts(by_look: Mapping[str, Sequence[CellRecord]]) -> Shifts:
    """Compares each look with the nominal one, on the policies and initial states that both have.

    Args:
        by_look: sound and comparable records by look, the nominal ones among them.
    """
    nominal = {_place(record): record for record in by_look[NOMINAL] if _is_usable(record)}
    retained: list[Retained] = []
    interactions: list[Interaction] = []
    agreements: dict[str, Prediction | None] = {}
    analyses: dict[str, Analysis] = {}
    warnings: list[str] = []
    for look, records in by_look.items():
        if look == NOMINAL:
            continue
        pairs = [(nominal[_place(record)], record) for record in records if _place(record) in nominal]
        pairs = [common_states(before, after) for before, after in pairs if _is_usable(after)]
        if not pairs:
            warnings.append(f"Nothing was evaluated under both the nominal look and {look}.")
            continue
        scores = _scores(pairs)
        retained += [_retained(who, look, *found) for who, found in scores.items()]
        competing = {who: found for who, found in scores.items() if not who.is_reference}
        interactions += _interactions(look, competing)
        agreements[look] = _agreement(competing)
        analyses[look] = analyse(records)
    return Shifts(tuple(retained), tuple(interactions), agreements, analyses, tuple(warnings))


def _is_usable(record: CellRecord) -> bool:
    return record.failure is None and bool(record.episodes)


def _place(record: CellRecord) -> tuple[object, ...]:
    """The cell but for its look."""
    cell = record.cell
    return cell.train, cell.evaluation.model_copy(update={"look": NOMINAL})


def common_states(before: CellRecord, after: CellRecord) -> tuple[CellRecord, CellRecord]:
    """Both records with the initial states alone that both evaluated."""
    shared = {episode.seed for episode in before.episodes} & {episode.seed for episode in after.episodes}
    first, second = (
        record.model_copy(update={"episodes": tuple(item for item in record.episodes if item.seed in shared)})
        for record in (before, after)
    )
    return first, second


def _scores(pairs: Sequence[tuple[CellRecord, CellRecord]]) -> dict[Contender, tuple[Array, Array, Array]]:
    """Outcomes of each complete contender under both looks, `N x tasks x seeds x states`, and the weights of N."""
    before, after = Cube([pair[0] for pair in pairs]), Cube([pair[1] for pair in pairs])
    return {
        who: (*in_common(before.outcomes(who), after.outcomes(who)), before.weights)
        for who in before.complete_contenders()
    }


def _retained(who: Contender, look: str, before: Array, after: Array, weights: Array) -> Retained:
    counts = counted(before).min(axis=0)
    nominal, shifted = weighted(before, weights), weighted(after, weights)
    difference, p_value = paired_difference(shifted, nominal)
    return Retained(
        contender=who,
        look=look,
        nominal=mean_interval(nominal, counts=counts),
        shifted=mean_interval(shifted, counts=counts),
        ratio=ratio_interval(shifted, nominal, counts),
        difference=difference,
        p_value=p_value,
    )


def _interactions(look: str, scores: Mapping[Contender, tuple[Array, Array, Array]]) -> list[Interaction]:
    contenders = sorted(scores)
    if len(contenders) < 2:
        return []
    # Halved, so that differences of changes lie within -1..1 as differences of scores do.
    changes = np.stack([(scores[who][1] - scores[who][0]) / 2 for who in contenders])
    found = compare_family(changes, scores[contenders[0]][2])
    adjusted = holm([result.p_value for result in found.values()])
    return [
        Interaction(
            look=look,
            first=contenders[first],
            second=contenders[second],
            difference=Interval(*(2 * value for value in _values(result.difference))),
            p_value=result.p_value,
            adjusted_p_value=corrected,
        )
        for ((first, second), result), corrected in zip(found.items(), adjusted, strict=True)
    ]


def _values(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def _agreement(scores: Mapping[Contender, tuple[Array, Array, Array]]) -> Prediction | None:
    means = [
        (float(weighted(before, weights).mean()), float(weighted(after, weights).mean()))
        for before, after, weights in scores.values()
    ]
    nominal, shifted = np.array([pair[0] for pair in means]), np.array([pair[1] for pair in means])
    encoders = [who.encoder for who in scores]
    if len({*encoders}) < FEWEST_ENCODERS or np.ptp(nominal) == 0 or np.ptp(shifted) == 0:
        return None
    return predict(nominal, shifted, encoders)
