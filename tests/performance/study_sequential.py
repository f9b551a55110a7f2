"""Does sequential evaluation keep its 5 %, and how many episodes does it save?

Made-up contenders are evaluated on states that they share: a state's difficulty correlates their outcomes. Writes
`false.csv`, `saved.csv`, `coverage.csv`, `replayed.csv` and `sequential.png` to results/studies/sequential;
docs/statistics.md describes the results. `replayed.csv` is about committed studies, evaluated again in rounds.
Run as `python tests/performance/study_sequential.py [PART...] [--repeats N] [--processes N]`; about a quarter of an
hour on two cores, and the same numbers again on any machine.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations, product
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import special

from pvrbench.benchmark.analysis.anytime import confidence_sequence
from pvrbench.benchmark.analysis.cube import Contender
from pvrbench.benchmark.analysis.layout import Array
from pvrbench.benchmark.analysis.pairing import holm, mcnemar
from pvrbench.benchmark.analysis.sequential import families, replay, state_order, state_scores
from pvrbench.benchmark.analysis.statistics import analyse
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore

mpl.use("Agg")
import matplotlib.pyplot as plt

pyplot: Any = plt
ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "results" / "studies"
OUTPUT = STUDIES / "sequential"

CONTENDERS, GAPS, PLANNED = (2, 5, 10), (0.1, 0.2, 0.3), (200, 500)
BASE_RATE, CORRELATION = 0.5, 0.5
# Fixed designs whose power is simulated; that of sizes between them is interpolated.
FIXED_SIZES = (10, 15, 20, 30, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400, 500)
# A sequential design that finds more than this share is compared with the fixed one that finds this share: which size
# finds everything cannot be simulated.
MOST_POWER = 0.99
# Committed studies that are evaluated again, and how many states are planned.
REPLAYED, REPLAY_PLANNED = ("zoo", "heads_zoo/base", "heads/base"), (100, 200, 1000)


def outcomes(
    generator: np.random.Generator, rates: Sequence[float], seeds: int, states: int, correlation: float
) -> Array:
    """Scores `contenders x states`: mean over training seeds of success, each contender with its true rate."""
    shared = generator.normal(size=states) * np.sqrt(correlation)
    own = generator.normal(size=(len(rates), seeds, states)) * np.sqrt(1 - correlation)
    limits = np.array([special.ndtri(rate) for rate in rates])[:, None, None]
    scores: Array = (shared + own < limits).mean(axis=1)
    return scores


def numbered(scores: Array) -> dict[int, Array]:
    """Scores by the number of their contender."""
    return {who: scores[who] for who in range(len(scores))}


def false_decisions(setting: tuple[int, float, int, float], repeats: int) -> dict[str, float]:
    """Equal contenders that are looked at after every state, and never given up."""
    contenders, rate, seeds, correlation = setting
    generator = np.random.default_rng([1, contenders, round(100 * rate), seeds, round(100 * correlation)])
    found = 0
    for _ in range(repeats):
        scores = numbered(outcomes(generator, [rate] * contenders, seeds, PLANNED[0], correlation))
        found += bool(replay(scores, PLANNED[0], ended=scores).decisions)
    return {
        **{"contenders": contenders, "rate": rate, "seeds": seeds, "correlation": correlation},
        "families_with_a_false_difference": found / repeats,
    }


def fixed_power(setting: tuple[int, float], repeats: int) -> Array:
    """Share of the true differences that fixed designs of `FIXED_SIZES` find, by McNemar's test with Holm."""
    contenders, gap = setting
    generator = np.random.default_rng([2, contenders, round(100 * gap)])
    rates = [BASE_RATE + gap, *[BASE_RATE] * (contenders - 1)]
    pairs = list(combinations(range(contenders), 2))
    found = np.zeros(len(FIXED_SIZES))
    for _ in range(repeats):
        scores = outcomes(generator, rates, 1, FIXED_SIZES[-1], CORRELATION)
        for index, size in enumerate(FIXED_SIZES):
            adjusted = holm([mcnemar(scores[one, :size], scores[other, :size]) for one, other in pairs])
            true = [value < 0.05 for (one, _), value in zip(pairs, adjusted, strict=True) if one == 0]
            found[index] += np.mean(true)
    return found / repeats


def size_of_power(curve: Array, power: float) -> float:
    """The smallest fixed design with some power, or with `MOST_POWER`; between two sizes it is interpolated."""
    power = min(power, MOST_POWER)
    index = int(np.argmax(np.maximum.accumulate(curve) >= power))
    if index == 0:
        return FIXED_SIZES[0]
    share = (power - curve[index - 1]) / (curve[index] - curve[index - 1])
    return float(FIXED_SIZES[index - 1] + share * (FIXED_SIZES[index] - FIXED_SIZES[index - 1]))


def saved(setting: tuple[int, float, int], repeats: int) -> dict[str, float]:
    """What a sequential design finds and costs where one contender is better than all others, which are equal."""
    contenders, gap, planned = setting
    generator = np.random.default_rng([3, contenders, round(100 * gap), planned])
    rates = [BASE_RATE + gap, *[BASE_RATE] * (contenders - 1)]
    power, cost, wrong = 0.0, 0.0, 0
    for _ in range(repeats):
        scores = numbered(outcomes(generator, rates, 1, planned, CORRELATION))
        result = replay(scores, planned)
        power += sum(pair[0] == 0 for pair in result.decisions) / (contenders - 1)
        cost += sum(ending.states for ending in result.endings.values()) / contenders
        wrong += any(
            first == 0 and (scores[first][: it.states] < scores[second][: it.states]).sum()
            > (scores[first][: it.states] > scores[second][: it.states]).sum()
            for (first, second), it in result.decisions.items()
        )  # fmt: skip
    return {
        **{"contenders": contenders, "gap": gap, "planned": planned},
        **{"power": power / repeats, "mean_states": cost / repeats},
        "families_with_a_wrong_direction": wrong / repeats,
    }


def against_fixed(row: Mapping[str, float], curve: Array) -> dict[str, float]:
    """What a sequential design saves, against the fixed designs whose power is `curve`."""
    fixed = size_of_power(curve, row["power"])
    return {
        **row,
        "fixed_states_of_equal_power": fixed,
        "saved_at_equal_power": 1 - row["mean_states"] / fixed,
        "saved_of_planned": 1 - row["mean_states"] / row["planned"],
        "fixed_power_at_planned": float(np.interp(row["planned"], FIXED_SIZES, curve)),
    }


def coverage(setting: tuple[float, float, int], repeats: int) -> dict[str, float]:
    """How often a confidence sequence holds the truth at all of its 200 states, and its width at the end."""
    rate, gap, seeds = setting
    generator = np.random.default_rng([4, round(100 * rate), round(100 * gap), seeds])
    held, pair_held, width = 0, 0, 0.0
    for _ in range(repeats):
        first, second = outcomes(generator, [rate + gap, rate], seeds, PLANNED[0], CORRELATION)
        own, pair = confidence_sequence(second), confidence_sequence(first - second, -1.0, 1.0)
        held += own.low <= rate <= own.high
        pair_held += pair.low <= gap <= pair.high
        width += pair.high - pair.low
    return {
        **{"rate": rate, "gap": gap, "seeds": seeds},
        "rate_held": held / repeats,
        "difference_held": pair_held / repeats,
        "difference_width": width / repeats,
    }


def recorded_scores(records: Sequence[CellRecord]) -> dict[Contender, Array]:
    """Scores of a study's contenders on its states, in the order of a sequential run."""
    episodes = {record.cell: record.episodes for record in records if record.failure is None}
    (family,) = families(list(episodes))
    order = state_order(records[0].settings.num_episodes)
    return {who: state_scores(member, episodes, order) for who, member in sorted(family.items()) if member.is_compared}


def replayed(setting: tuple[str, int | None], repeats: int) -> dict[str, object]:
    """A committed study evaluated in rounds, on its own states or on more states drawn from these with replacement."""
    study, planned = setting
    records = RecordStore(STUDIES / study).read()[0]
    scores = recorded_scores(records)
    names, values = list(scores), np.stack(list(scores.values()))
    fixed = {
        (min(ends), max(ends))
        for pair in analyse(records).comparisons
        if (ends := (names.index(pair.first), names.index(pair.second))) and pair.adjusted_p_value < 0.05
    }
    states, decided, cost = values.shape[1], 0.0, 0.0
    when: list[float] = []
    repeats = repeats if planned else 1
    for repeat in range(repeats):
        drawn = np.random.default_rng([5, planned or 0, repeat]).integers(0, states, planned or states)
        given = numbered(values[:, drawn] if planned else values)
        result = replay(given, planned or states, ended=() if planned else given)
        decided += len(result.decisions) / repeats
        cost += sum(ending.states for ending in result.endings.values()) / len(values) / repeats
        when += [result.decisions[pair].states if pair in result.decisions else np.inf for pair in fixed]
    return {
        **{"study": study, "recorded_states": states, "planned": planned or states, "contenders": len(values)},
        **{"pairs": len(values) * (len(values) - 1) // 2, "pairs_decided": decided},
        **{"mean_states": cost, "saved_of_planned": 1 - cost / (planned or states)},
        **{"pairs_of_the_fixed_analysis": len(fixed), "share_of_them_decided": float(np.isfinite(when).mean())},
        **{
            f"states_until_{share}_percent_of_them": float(np.sort(when)[max(0, -(-len(when) * share // 100) - 1)])
            for share in (50, 90, 100)
        },
    }


def write(name: str, rows: Sequence[Mapping[str, object]]) -> None:
    with (OUTPUT / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
        )


def draw(false: Sequence[Mapping[str, float]], savings: Sequence[Mapping[str, float]]) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for index, contenders in enumerate(CONTENDERS):
        rates = [100 * row["families_with_a_false_difference"] for row in false if row["contenders"] == contenders]
        left.plot([index] * len(rates), rates, "o", color=f"C{index}", alpha=0.6)
    left.axhline(5, color="black", linewidth=0.8, linestyle="--")
    left.set_xticks(range(len(CONTENDERS)), [f"{number} contenders" for number in CONTENDERS])
    left.set_xlim(-0.5, len(CONTENDERS) - 0.5)
    left.set_ylim(0, 6)
    left.set_ylabel("families with a false difference, %")
    left.set_title("Equal contenders, looked at after every state", fontsize=10)
    for index, contenders in enumerate(CONTENDERS):
        for planned, style in zip(PLANNED, ("o-", "s--"), strict=True):
            rows = [row for row in savings if (row["contenders"], row["planned"]) == (contenders, planned)]
            right.plot(
                [100 * row["gap"] for row in rows],
                [100 * row["saved_at_equal_power"] for row in rows],
                style,
                color=f"C{index}",
                label=f"{contenders} contenders, {planned} states planned",
            )
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xticks([100 * gap for gap in GAPS])
    right.set_xlabel("true gap of one contender to all others, points")
    right.set_ylabel("episodes saved at equal power, %")
    right.set_title("Against the fixed design that finds as much", fontsize=10)
    right.legend(fontsize=7)
    figure.savefig(OUTPUT / "sequential.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["simulated", "replayed"])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    repeats: int = arguments.repeats
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with Pool(arguments.processes) as pool:
        if "simulated" in arguments.parts:
            cases = list(product(CONTENDERS, (0.1, 0.5), (1, 3), (0.0, 0.5)))
            false = pool.map(partial(false_decisions, repeats=repeats), cases, chunksize=1)
            write("false.csv", false)
            places = list(product(CONTENDERS, GAPS))
            curves = dict(
                zip(places, pool.map(partial(fixed_power, repeats=repeats // 4), places, chunksize=1), strict=True)
            )
            designs = list(product(CONTENDERS, GAPS, PLANNED))
            found = pool.map(partial(saved, repeats=repeats // 2), designs, chunksize=1)
            savings = [against_fixed(row, curves[int(row["contenders"]), row["gap"]]) for row in found]
            write("saved.csv", savings)
            held = pool.map(
                partial(coverage, repeats=repeats // 2), list(product((0.1, 0.5), (0.0, 0.2), (1, 3))), chunksize=1
            )
            write("coverage.csv", held)
            draw(false, savings)
        if "replayed" in arguments.parts:
            studies = list(product(REPLAYED, (None, *REPLAY_PLANNED)))
            write("replayed.csv", pool.map(partial(replayed, repeats=repeats // 100), studies, chunksize=1))


if __name__ == "__main__":
    main()
