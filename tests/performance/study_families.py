"""Is a false difference found in 5 % of families of contenders at most, and how many true differences are found?

Made-up contenders are compared as a ranking compares them, by their own variances (`paired_difference`), by variances
that all pairs moderate (`compare_family`), and with the true variance, which no method can beat by much. Settings whose
rate of false differences comes close to the limit are simulated again with ten times as many families. Writes
`families.csv`, `ragged.csv` and `families.png` to results/studies/families; docs/statistics.md describes the results.

Run as `python tests/performance/study_families.py [--families N]`. It takes about 40 minutes on one core. Settings that
are in the tables already are not simulated again, so a stopped run continues there; delete the tables to start again.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import hermite_e
from scipy import optimize, special

from pvrbench.benchmark.analysis.estimates import clustered_spread, mean_interval
from pvrbench.benchmark.analysis.layout import Array
from pvrbench.benchmark.analysis.pairing import compare_family, holm
from pvrbench.benchmark.analysis.shrinkage import moderated_spreads

hermite: Any = hermite_e
untyped: Any = optimize

OUTPUT = Path(__file__).resolve().parents[2] / "results" / "studies" / "families"

DESIGNS = ((1, 3), (3, 2), (3, 3), (5, 3))  # tasks and seeds
SIZES = (3, 10, 20)
ENOUGH = ((3, 3), (5, 3))  # designs in which the limit is to be kept
EPISODES = 50
GAPS = (0.05, 0.10, 0.15)
# Standard deviations in logits: 0.1 is about two points of success at one half, 0.3 six points, 0.6 twelve, 1.2 twenty.
SEED_SDS = (0.1, 0.3, 0.6)
NOISY_SD = 1.2
STATE_SD, OWN_STATE_SD = 1.0, 0.5
COLLAPSED_SHARE, COLLAPSED_RATE = 0.05, 0.02
# Above this share of families with a false difference, a setting is simulated again with more families (limit: 6.5 %).
CLOSE_TO_LIMIT, MORE, FRESH = 0.055, 10, 1000
METHODS: tuple[str, ...] = ("own", "moderated", "known")
QUADRATURE: Any = hermite.hermegauss(41)
NODES: Array = QUADRATURE[0]
WEIGHTS: Array = QUADRATURE[1] / QUADRATURE[1].sum()


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated.

    Attributes:
        tasks: number of tasks, of differing difficulty.
        seeds: training runs of each contender on each task.
        contenders: number of them.
        seed_sd: of training runs, in logits.
        noise: `equal`, `one noisy` (the last contender's training runs vary by `NOISY_SD`) or `collapsed` (5 % of all
            training runs end near zero).
        rate: mean success rate of all.
        gap: contenders alternate between two success rates that differ by this; zero where all are equal.
    """

    tasks: int
    seeds: int
    contenders: int
    seed_sd: float
    noise: str
    rate: float = 0.5
    gap: float = 0.0


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


def rates_of(setting: Setting) -> Array:
    """True success rates; a noisy contender, and the last of an odd number, lies in the middle."""
    signs = np.resize([-0.5, 0.5], setting.contenders)
    if setting.noise == "one noisy" or setting.contenders % 2:
        signs[-1] = 0
    return setting.rate + setting.gap * signs


def seed_sds(setting: Setting) -> Array:
    sds = np.full(setting.contenders, setting.seed_sd)
    if setting.noise == "one noisy":
        sds[-1] = NOISY_SD
    return sds


def task_logits(setting: Setting) -> Array:
    """Logits `contenders x tasks` with the true success rates as their means over tasks."""
    difficulty = np.linspace(-0.5, 0.5, setting.tasks) if setting.tasks > 1 else np.zeros(1)
    logits: list[Array] = []
    for rate, seed_sd in zip(rates_of(setting), seed_sds(setting), strict=True):
        sd = math.sqrt(seed_sd**2 + STATE_SD**2 + OWN_STATE_SD**2)

        def excess(shift: float, sd: float = sd, rate: float = float(rate)) -> float:
            return float((sigmoid(shift + difficulty[:, None] + sd * NODES) @ WEIGHTS).mean()) - rate

        logits.append(difficulty + float(untyped.brentq(excess, -15, 15)))
    return np.stack(logits)


def simulate(setting: Setting, logits: Array, generator: np.random.Generator) -> Array:
    """Outcomes `contenders x tasks x seeds x states`; all share the states and what is hard about them."""
    shape = (setting.contenders, setting.tasks, setting.seeds, EPISODES)
    runs = seed_sds(setting)[:, None, None, None] * generator.standard_normal((*shape[:3], 1))
    shared = STATE_SD * generator.standard_normal((1, setting.tasks, 1, EPISODES))
    own = OWN_STATE_SD * generator.standard_normal((setting.contenders, setting.tasks, 1, EPISODES))
    rates = sigmoid(logits[:, :, None, None] + runs + shared + own)
    if setting.noise == "collapsed":
        rates = np.where(generator.uniform(size=(*shape[:3], 1)) < COLLAPSED_SHARE, COLLAPSED_RATE, rates)
    return (generator.uniform(size=shape) < rates).astype(float)


def study(setting: Setting, num_families: int, seed: int) -> dict[str, float | str]:
    """How often a family holds a false difference, how many true ones are found, and coverage of the differences."""
    generator = np.random.default_rng((7, seed))
    logits = task_logits(setting)
    pairs = list(combinations(range(setting.contenders), 2))
    first, second = np.array(pairs).T
    true = rates_of(setting)[first] - rates_of(setting)[second]
    families = [simulate(setting, logits, generator) for _ in range(num_families)]
    means = np.array([family.mean(axis=(1, 2, 3)) for family in families])
    # The true variance of each pair, as far as these families show it.
    known = (means[:, first] - means[:, second]).var(axis=0, ddof=1)
    differs = abs(true) > 1e-9
    is_whole_gap = differs & (abs(abs(true) - setting.gap) < 1e-9)
    counts = {name: dict.fromkeys(METHODS, 0.0) for name in ("false", "found", "covers", "width")}
    worst_covers = {method: np.zeros(len(pairs)) for method in METHODS}
    for family, mean in zip(families, means, strict=True):
        differences = family[first] - family[second]
        estimates = mean[first] - mean[second]
        own = [clustered_spread(difference) for difference in differences]
        spreads = {
            "own": own,
            "moderated": moderated_spreads(differences, setting.contenders) if len(pairs) > 1 else own,
        }
        bounds = {
            method: (np.array([item.variance for item in found]), np.array([item.freedom for item in found]))
            for method, found in spreads.items()
        } | {"known": (known, np.full(len(pairs), np.inf))}
        for method, (variances, freedoms) in bounds.items():
            errors = np.sqrt(np.maximum(variances, 1e-12))
            p_values = 2 * special.stdtr(np.minimum(freedoms, 1e9), -abs(estimates) / errors)
            significant = np.array(holm(p_values.tolist())) < 0.05
            reach = special.stdtrit(np.minimum(freedoms, 1e9), 0.975) * errors
            inside = abs(estimates - true) <= reach
            wrong = significant & (~differs | (np.sign(estimates) != np.sign(true)))
            counts["false"][method] += bool(wrong.any())
            counts["found"][method] += float((significant & ~wrong)[is_whole_gap].mean()) if setting.gap else 0.0
            counts["covers"][method] += float(inside.mean())
            counts["width"][method] += float(2 * reach.mean())
            worst_covers[method] += inside
    row: dict[str, float | str] = {**asdict(setting), "families": num_families}
    for name, by_method in counts.items():
        row |= {f"{name}_{method}": round(count / num_families, 4) for method, count in by_method.items()}
    return row | {
        f"worst_covers_{name}": round(float(found.min()) / num_families, 4) for name, found in worst_covers.items()
    }


def precise_study(setting: Setting, num_families: int, seed: int) -> dict[str, float | str]:
    """The study of a setting. Where it comes close to the limit, new and many more families count instead."""
    row = study(setting, num_families, seed)
    is_enough = (setting.tasks, setting.seeds) in ENOUGH
    if is_enough and not setting.gap and float(row["false_moderated"]) > CLOSE_TO_LIMIT:
        return study(setting, MORE * num_families, seed + FRESH)
    return row


def ragged_study(tasks: int, seeds: int, fewest: int, seed_sd: float, num_families: int) -> dict[str, float | str]:
    """Coverage where each training run is evaluated on the first `fewest` to `EPISODES` states, drawn at random.

    Counts `runs` differ between all training runs; with `tasks` they differ between tasks only.
    """
    row: dict[str, float | str] = {"tasks": tasks, "seeds": seeds, "fewest": fewest, "seed_sd": seed_sd}
    setting = Setting(tasks, seeds, 3, seed_sd, "equal", rate=0.3)
    logits = task_logits(setting)
    for kind, shape in (("runs", (3, tasks, seeds, 1)), ("tasks", (1, tasks, 1, 1))):
        generator = np.random.default_rng((8, tasks, seeds, fewest))
        covers, differences_cover, false = 0.0, 0.0, 0
        for _ in range(num_families):
            numbers = generator.integers(fewest, EPISODES + 1, shape)
            family = np.where(np.arange(EPISODES) < numbers, simulate(setting, logits, generator), np.nan)
            intervals = [mean_interval(values) for values in family]
            covers += sum(interval.low <= setting.rate <= interval.high for interval in intervals) / 3
            results = compare_family(family[:, None], [1.0]).values()
            differences_cover += sum(item.difference.low <= 0 <= item.difference.high for item in results) / 3
            false += min(holm([item.p_value for item in results])) < 0.05
        row |= {
            f"covers_{kind}": round(covers / num_families, 4),
            f"differences_cover_{kind}": round(differences_cover / num_families, 4),
            f"false_{kind}": round(false / num_families, 4),
        }
    return row


def settings() -> list[Setting]:
    """All that is simulated: equal contenders in every design, gaps in the largest one."""
    equal = [
        Setting(*design, size, seed_sd, noise, rate)
        for design, size in product(DESIGNS, SIZES)
        for noise, seed_sd, rate in (
            *(("equal", sd, 0.5) for sd in SEED_SDS),
            ("equal", 0.3, 0.1),
            ("one noisy", 0.1, 0.5),
            ("one noisy", 0.3, 0.5),
            ("collapsed", 0.3, 0.5),
        )
    ]
    apart = [
        Setting(5, 3, size, seed_sd, noise, gap=gap)
        for size, gap in product(SIZES, GAPS)
        for noise, seed_sd in (("equal", 0.1), ("equal", 0.3), ("one noisy", 0.1), ("collapsed", 0.1))
    ]
    return equal + apart


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Mapping[str, object]) -> None:
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def key_of(row: Mapping[str, object], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in names)


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """False differences above, true ones that are found below; a column for each number of contenders."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt
    figure, grid = pyplot.subplots(2, len(SIZES), figsize=(12, 7), sharey="row")
    colours = {"own": "#D55E00", "moderated": "#0072B2", "known": "#777777"}
    words = {"own": "own variance of each pair", "moderated": "moderated by all pairs", "known": "variance known"}
    for column, size in enumerate(SIZES):
        upper, lower = grid[0][column], grid[1][column]
        own = [row for row in rows if int(row["contenders"]) == size]
        for shift, method in enumerate(("own", "moderated")):
            values = [
                [
                    100 * float(row[f"false_{method}"])
                    for row in own
                    if float(row["gap"]) == 0 and (int(row["tasks"]), int(row["seeds"])) == design
                ]
                for design in DESIGNS
            ]
            for index, found in enumerate(values):
                places = [index + 0.3 * (shift - 0.5)] * len(found)
                upper.scatter(places, found, color=colours[method], s=16, label=words[method] if index == 0 else None)
        upper.axhspan(0, 6.5, color="#009E73", alpha=0.15, linewidth=0)
        upper.set_xticks(range(len(DESIGNS)), [f"{tasks} x {seeds}" for tasks, seeds in DESIGNS])
        upper.set_xlabel("tasks x seeds")
        upper.set_title(f"{size} contenders", fontsize=10)
        for method, (noise, seed_sd, dash) in product(
            METHODS, (("equal", 0.1, "-"), ("equal", 0.3, "--"), ("one noisy", 0.1, "-."), ("collapsed", 0.1, ":"))
        ):
            line = [
                (100 * float(row["gap"]), 100 * float(row[f"found_{method}"]))
                for row in own
                if float(row["gap"]) > 0 and row["noise"] == noise and float(row["seed_sd"]) == seed_sd
            ]
            label = f"{noise}, sd {seed_sd}" if method == "moderated" else None
            lower.plot(*zip(*sorted(line), strict=True), color=colours[method], linestyle=dash, marker=".", label=label)
        lower.set_xlabel("true difference, points")
    grid[0][0].set_ylabel("families with a false difference, %")
    grid[1][0].set_ylabel("true differences found, %")
    grid[0][0].legend(frameon=False, fontsize=8)
    grid[1][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Simulates what is missing from the tables and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, default=2000, help="of equal contenders; a fifth of it for gaps")
    arguments = parser.parse_args()
    path, ragged_path = OUTPUT / "families.csv", OUTPUT / "ragged.csv"
    names = tuple(asdict(settings()[0]))
    there = {key_of(row, names) for row in read_rows(path)}
    for index, setting in enumerate(settings()):
        if key_of(asdict(setting), names) not in there:
            append(path, precise_study(setting, arguments.families // (5 if setting.gap else 1), index))
    cases = list(product((1, 5), (1, 3), (5, 20), (0.1, 0.6)))
    there = {key_of(row, ("tasks", "seeds", "fewest", "seed_sd")) for row in read_rows(ragged_path)}
    for case in cases:
        if tuple(map(str, case)) not in there:
            append(ragged_path, ragged_study(*case, num_families=arguments.families // 2))
    draw(read_rows(path), OUTPUT / "families.png")


if __name__ == "__main__":
    main()
