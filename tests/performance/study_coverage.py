"""Do 95 % intervals hold the truth 95 % of the time, and do equal contenders differ significantly in 5 % at most?

Made-up contenders with known success rates are evaluated as a run would evaluate them, many times. They share initial
states of differing difficulty, and their training runs differ. Writes `coverage.csv`, `population.csv` and
`coverage.png` to results/studies/coverage; docs/statistics.md describes the results.
Run as `python tests/performance/study_coverage.py [--repeats N] [--processes N]`; minutes on two cores, and the same
numbers again on any machine.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import hermite_e
from scipy import optimize

from pvrbench.benchmark.analysis.estimates import Array, mean_interval, middle, population_interval, resampled, wilson
from pvrbench.benchmark.analysis.pairing import holm, paired_difference

hermite: Any = hermite_e
untyped: Any = optimize

OUTPUT = Path(__file__).resolve().parents[2] / "results" / "studies" / "coverage"

NUM_CONTENDERS = 3
NOISES = ((0.0, 0.0), (0.0, 1.0), (0.3, 1.0), (0.6, 1.0))  # sd of trainings and of states, in logits
RATES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
# What a contender finds hard that others do not, in logits, where states vary at all.
OWN_STATE_SD = 0.5
QUADRATURE: Any = hermite.hermegauss(41)
NODES: Array = QUADRATURE[0]
WEIGHTS: Array = QUADRATURE[1] / QUADRATURE[1].sum()


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated: the size of a run, its true success rate and its noise."""

    tasks: int
    seeds: int
    episodes: int
    rate: float
    seed_sd: float
    state_sd: float


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


def expected(logits: Array, sd: float) -> Array:
    """Success rate at normally distributed logits."""
    rates: Array = sigmoid(logits[..., None] + sd * NODES) @ WEIGHTS
    return rates


def task_logits(setting: Setting) -> Array:
    """Logits of tasks of differing difficulty whose mean success rate is the true one."""
    difficulty = np.linspace(-1, 1, setting.tasks) if setting.tasks > 1 else np.zeros(1)
    own_sd = OWN_STATE_SD if setting.state_sd else 0.0
    total_sd = float(np.sqrt(setting.seed_sd**2 + setting.state_sd**2 + own_sd**2))

    def excess(shift: float) -> float:
        return float(expected(difficulty + shift, total_sd).mean()) - setting.rate

    return difficulty + float(untyped.brentq(excess, -15, 15))


def evaluate(setting: Setting, logits: Array, generator: np.random.Generator) -> tuple[list[Array], list[float]]:
    """Outcomes `tasks x seeds x states` of equal contenders, and the true rates of the trainings each has got."""
    own_sd = OWN_STATE_SD if setting.state_sd else 0.0
    place = (setting.tasks, 1, setting.episodes)
    shared = setting.state_sd * generator.standard_normal(place)
    outcomes: list[Array] = []
    truths: list[float] = []
    for _ in range(NUM_CONTENDERS):
        trainings = logits + setting.seed_sd * generator.standard_normal((setting.tasks, setting.seeds, 1))
        own = own_sd * generator.standard_normal(place)
        rates = sigmoid(trainings + shared + own)
        outcomes.append((generator.uniform(size=rates.shape) < rates).astype(float))
        truths.append(float(expected(trainings, float(np.hypot(setting.state_sd, own_sd))).mean()))
    return outcomes, truths


def study(task: tuple[int, Setting, int]) -> dict[str, float]:
    """Frequencies with which the intervals of one setting hold the truth and equal contenders differ significantly."""
    index, setting, repeats = task
    generator = np.random.default_rng(index)
    counts = dict.fromkeys(("coverage", "coverage_of_trainings", "coverage_pooled", "coverage_bootstrap"), 0.0)
    counts |= dict.fromkeys(("false_difference", "any_false_after_holm", "width"), 0.0)
    logits = task_logits(setting)[:, None, None]
    num_bootstraps = max(1, repeats // 5)
    for repeat in range(repeats):
        outcomes, truths = evaluate(setting, logits, generator)
        for values, truth in zip(outcomes, truths, strict=True):
            interval, pooled = mean_interval(values), wilson(values.sum(), values.size)
            counts["coverage"] += interval.low <= setting.rate <= interval.high
            counts["coverage_of_trainings"] += interval.low <= truth <= interval.high
            counts["coverage_pooled"] += pooled.low <= setting.rate <= pooled.high
            counts["width"] += interval.high - interval.low
        if repeat < num_bootstraps:
            low, high = middle(resampled(outcomes[0], sample_tasks=False, seed=repeat).mean(axis=(1, 2)), 0.95)
            counts["coverage_bootstrap"] += low <= setting.rate <= high
        p_values = [paired_difference(one, other)[1] for one, other in combinations(outcomes, 2)]
        counts["false_difference"] += sum(p_value < 0.05 for p_value in p_values)
        counts["any_false_after_holm"] += min(holm(p_values)) < 0.05
    trials = dict.fromkeys(counts, float(repeats * NUM_CONTENDERS))
    trials |= {"coverage_bootstrap": float(num_bootstraps), "any_false_after_holm": float(repeats)}
    found = {name: round(count / trials[name], 4) for name, count in counts.items()}
    return {**asdict(setting), **found}


def population_study(task: tuple[int, int, float, int]) -> dict[str, float]:
    """Coverage of a population's mean by intervals from tasks that were sampled from it."""
    index, num_tasks, task_sd, repeats = task
    generator = np.random.default_rng((1, index))
    counts = dict.fromkeys(("coverage", "coverage_plain_bootstrap", "coverage_of_interval_for_these_tasks"), 0)
    for repeat in range(repeats):
        logits = task_sd * generator.standard_normal((num_tasks, 1, 1)) + 0.3 * generator.standard_normal(
            (num_tasks, 3, 1)
        )
        values = (generator.uniform(size=(num_tasks, 3, 20)) < sigmoid(logits)).astype(float)
        wide, these = population_interval(values, seed=repeat), mean_interval(values)
        low, high = middle(resampled(values, sample_tasks=True, seed=repeat).mean(axis=(1, 2)), 0.95)
        counts["coverage"] += wide.low <= 0.5 <= wide.high
        counts["coverage_plain_bootstrap"] += low <= 0.5 <= high
        counts["coverage_of_interval_for_these_tasks"] += these.low <= 0.5 <= these.high
    return {
        "tasks": num_tasks,
        "task_sd": task_sd,
        **{name: round(count / repeats, 4) for name, count in counts.items()},
    }


def write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def draw(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Coverage above, false differences below, a column for each number of tasks and seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt
    figure, grid = pyplot.subplots(2, 4, figsize=(13, 6.4), sharex=True)
    colours = ("#000000", "#0072B2", "#E69F00", "#D55E00")
    words = ("no noise", "states vary", "trainings vary by 7 points", "trainings vary by 14 points")
    for column, (tasks, seeds) in enumerate(product((1, 5), (1, 3))):
        upper, lower = grid[0][column], grid[1][column]
        for (noise, colour, word), episodes in product(zip(NOISES, colours, words, strict=True), (20, 50)):
            own = [
                row
                for row in rows
                if (row["tasks"], row["seeds"], row["episodes"]) == (tasks, seeds, episodes)
                and (row["seed_sd"], row["state_sd"]) == noise
            ]
            style = {"color": colour, "marker": ".", "linestyle": "-" if episodes == 50 else ":"}
            rates = [100 * row["rate"] for row in own]
            upper.plot(rates, [100 * row["coverage"] for row in own], label=f"{word}, {episodes} episodes", **style)
            lower.plot(rates, [100 * row["false_difference"] for row in own], **style)
        upper.axhspan(93.5, 96.5, color="#009E73", alpha=0.18, linewidth=0)
        lower.axhspan(0, 5, color="#009E73", alpha=0.18, linewidth=0)
        upper.set_title(f"{tasks} task{'s' * (tasks > 1)}, {seeds} seed{'s' * (seeds > 1)}", fontsize=10)
        upper.set_ylim(58, 101)
        lower.set_ylim(-1, 36)
        lower.set_xlabel("true success rate, %")
    grid[0][0].set_ylabel("intervals that hold the true rate, %")
    grid[1][0].set_ylabel("false differences, %")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Runs the study and writes its tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    settings = [
        Setting(tasks, seeds, episodes, rate, *noise)
        for tasks, seeds, episodes, noise, rate in product((1, 5), (1, 3), (20, 50), NOISES, RATES)
    ]
    sizes = list(product((3, 5, 10), (0.5, 1.0, 1.5)))
    with Pool(arguments.processes) as pool:
        work = [(index, setting, arguments.repeats) for index, setting in enumerate(settings)]
        rows = pool.map(study, work, chunksize=1)
        populations = pool.map(
            population_study,
            [(index, tasks, sd, arguments.repeats // 2) for index, (tasks, sd) in enumerate(sizes)],
            chunksize=1,
        )
    write_csv(OUTPUT / "coverage.csv", rows)
    write_csv(OUTPUT / "population.csv", populations)
    draw(rows, OUTPUT / "coverage.png")


if __name__ == "__main__":
    main()
