"""What the head study shows: rank agreement of each variation with the base, as a table and a figure.

Reads what `study_heads.py` recorded, writes `agreement.csv`, `scores.csv` (by task and over all), `encoders.csv` (in
the mean of the readouts that all encoders have) and `study.png` and prints the tables in Markdown. A contender that
lacks cells in a variation is named and left out of it; each variation is compared with the base over the contenders
that both have. The first row sets the measure: how well two training seeds of the base agree with one another. Run as
`python tests/performance/analyse_heads.py [FOLDER] [--output FOLDER]`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import stats

from pvrbench.benchmark.analysis.estimates import mean_interval
from pvrbench.benchmark.analysis.frame import read_records
from pvrbench.benchmark.analysis.pairing import compare_family, holm, paired_difference
from pvrbench.benchmark.records.store import RecordError
from pvrbench.envs.base import Array

mpl.use("Agg")

BASE = "base"
REFERENCES = ("oracle", "proprio")
GRIDS = ("grid_pca", "grid4")
NUM_RESAMPLES = 2000
SIGNIFICANT = 0.05

Scores = dict[str, Array]
"""Success `tasks x seeds x states` by contender (encoder and readout)."""


def read_study(folder: Path) -> dict[str, pd.DataFrame]:
    """Episodes of every complete variation by its name, the base first, then those with most seeds.

    Raises:
        SystemExit: there is no base, or it is not complete.
    """
    found: dict[str, pd.DataFrame] = {}
    for path in sorted(item for item in folder.iterdir() if item.is_dir()):
        try:
            found[path.name] = read_records(path)
        except RecordError:
            sys.stderr.write(f"{path.name} has no records yet\n")
    if BASE not in found:
        raise SystemExit(f"error: {folder} has no run named {BASE!r}. Run tests/performance/study_heads.py first.")
    per_task = found[BASE].groupby(["task", "encoder", "readout"]).size()
    if not (per_task == per_task.max()).all():
        raise SystemExit(f"error: the run {BASE!r} in {folder} is not complete. Run it to its end first.")
    per_seed = found[BASE]["task"].nunique() * per_task.max() // found[BASE]["seed"].nunique()
    for name, table in found.items():
        sizes = table.groupby(["encoder", "readout"])["success"].transform("size")
        whole = sizes == per_seed * table["seed"].nunique()
        for contender in sorted({f"{row.encoder} {row.readout}" for row in table[~whole].itertuples()}):
            sys.stderr.write(f"{contender} is left out of {name}: it lacks cells there\n")
        found[name] = table[whole]
    return dict(sorted(found.items(), key=lambda item: (item[0] != BASE, -item[1]["seed"].nunique(), item[0])))


def scores(episodes: pd.DataFrame, seeds: Sequence[int]) -> Scores:
    """Success of every contender with some of the training seeds."""
    kept = episodes[episodes["seed"].isin(seeds)]
    result: Scores = {}
    for (encoder, readout), part in kept.groupby(["encoder", "readout"]):
        table = part.pivot_table(index="task", columns=["seed", "episode"], values="success", aggfunc="mean")
        name = str(encoder) if encoder in REFERENCES else f"{encoder} {readout}"
        result[name] = table.to_numpy(float).reshape(len(table), len(seeds), -1)
    return result


def agreement(base: Scores, other: Scores) -> dict[str, float]:
    """Kendall's tau-b of the ranking by mean success and of all task-wise scores, and what is gained on average.

    The bootstrap draws the initial states of each task, the same for both heads and all contenders: what another draw
    of states would have shown. `tau_images` leaves out the references, which nearly always come first and last.
    `significant` counts the pairs of contenders that are significantly different under both heads (tested as in a
    ranking: variances moderated by all pairs, Holm's correction), and `reversed` those of them that the heads order
    otherwise: near ties move tau, but not this. `significant_images` and `reversed_images` leave out the references.
    """
    names = sorted(base.keys() & other.keys())
    first, second = (np.stack([values[name] for name in names]) for values in (base, other))
    images = [index for index, name in enumerate(names) if name not in REFERENCES]
    generator = np.random.default_rng(0)
    _, num_tasks, _, num_states = first.shape
    drawn = generator.integers(num_states, size=(NUM_RESAMPLES, 1, num_tasks, 1, num_states))
    taus = np.array([_tau(*(_means(np.take_along_axis(part, rows, 3)) for part in (first, second))) for rows in drawn])
    found = np.isfinite(taus)
    low, high = np.quantile(taus[found], [0.025, 0.975]) if found.any() else (np.nan, np.nan)
    difference, _ = paired_difference(second.mean(0), first.mean(0))
    of_all, of_images = _both_significant(first, second), _both_significant(first[images], second[images])
    return {
        "contenders": len(names),
        "tau": _tau(_means(first), _means(second)),
        "tau_low": float(low),
        "tau_high": float(high),
        "tau_images": _tau(_means(first[images]), _means(second[images])),
        "tau_by_task": _tau(first.mean((2, 3)).ravel(), second.mean((2, 3)).ravel()),
        "significant": len(of_all),
        "reversed": of_all.count(-1),
        "significant_images": len(of_images),
        "reversed_images": of_images.count(-1),
        "difference": difference.estimate,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def ahead_of_class_token(values: Scores, readout: str) -> dict[str, float]:
    """How far a readout is ahead of the class token, in the mean of the encoders with both."""
    encoders = [name.removesuffix(" class_token") for name in values if name.endswith(" class_token")]
    both = [name for name in encoders if f"{name} {readout}" in values]
    names = (readout, f"{readout}_low", f"{readout}_high")
    if not both:
        return dict.fromkeys(names, np.nan)
    ours, theirs = (np.mean([values[f"{name} {end}"] for name in both], axis=0) for end in (readout, "class_token"))
    found, _ = paired_difference(ours, theirs)
    return dict(zip(names, (found.estimate, found.low, found.high), strict=True))


def by_encoder(values: Scores) -> Scores:
    """Success of every encoder in the mean of the readouts that all of them have; references are left out."""
    readouts: dict[str, set[str]] = {}
    for encoder, _, readout in (name.partition(" ") for name in values if name not in REFERENCES):
        readouts.setdefault(encoder, set()).add(readout)
    shared = sorted(set[str].intersection(*readouts.values())) if readouts else []
    return {
        encoder: np.mean([values[f"{encoder} {readout}"] for readout in shared], axis=0)
        for encoder in readouts
        if shared
    }


def encoder_table(study: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Success of every encoder under every variation, in the mean of tasks and shared readouts."""
    rows: list[dict[str, object]] = []
    for name, episodes in study.items():
        for encoder, found in by_encoder(scores(episodes, sorted(episodes["seed"].unique()))).items():
            rate = mean_interval(found)
            place = {"variation": name, "encoder": encoder}
            rows.append({**place, "success": rate.estimate, "low": rate.low, "high": rate.high})
    return pd.DataFrame(rows)


def _both_significant(first: Array, second: Array) -> list[int]:
    """Pairs of contenders that are significantly different under both heads: 1 for the same order, -1 for another."""
    products = [ours * theirs for ours, theirs in zip(_signs(first), _signs(second), strict=True)]
    return [product for product in products if product]


def _signs(values: Array) -> list[int]:
    """For each pair of contenders, 1 or -1 where they are significantly different, else 0."""
    results = list(compare_family(values[:, None], [1.0]).values())
    adjusted = holm([result.p_value for result in results])
    return [
        int(np.sign(result.difference.estimate)) if p_value < SIGNIFICANT else 0
        for result, p_value in zip(results, adjusted, strict=True)
    ]


def _means(values: Array) -> Array:
    # Means of equal outcomes, summed in another order, may differ in the last bits, which must not break a tie.
    return values.mean((1, 2, 3)).round(9)


def _tau(first: Array, second: Array) -> float:
    if len(first) < 2:
        return np.nan
    found: Any = stats.kendalltau(first, second)
    return float(found.statistic)


def tables(study: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement by variation, and success by variation, contender and task (`all`: their mean)."""
    agreements: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    base = study[BASE]
    own_seeds = sorted(base["seed"].unique())
    for first, second in pairwise(own_seeds):
        found = agreement(scores(base, [first]), scores(base, [second]))
        agreements.append({"variation": f"(base, seed {second} for {first})", "seeds": 1, **found})
    for name, episodes in study.items():
        seeds = sorted(episodes["seed"].unique())
        values = scores(episodes, seeds)
        place = {"variation": name, "seeds": len(seeds)}
        alike = {} if name == BASE else agreement(scores(base, seeds), values)
        ahead = [ahead_of_class_token(values, readout) for readout in GRIDS]
        agreements.append({**place, **alike, **ahead[0], **ahead[1]})
        tasks = sorted(episodes["task"].unique())
        for contender, found in values.items():
            parts = {"all": found, **{task: found[[index]] for index, task in enumerate(tasks)}}
            for task, part in parts.items():
                rate = mean_interval(part)
                rows.append(
                    {
                        **place,
                        "contender": contender,
                        "task": task,
                        "success": rate.estimate,
                        "low": rate.low,
                        "high": rate.high,
                    }
                )
    return pd.DataFrame(agreements), pd.DataFrame(rows)


def draw(agreements: pd.DataFrame, rates: pd.DataFrame, path: Path) -> None:
    """Success of every contender (rows, by the base) under every variation (columns, with their tau)."""
    from matplotlib import pyplot as plt

    rates = rates[rates["task"] == "all"]
    order = rates[rates["variation"] == BASE].sort_values("success", ascending=False)["contender"].tolist()
    columns: list[str] = rates["variation"].unique().tolist()
    grid = rates.pivot_table(index="contender", columns="variation", values="success").loc[order, columns]
    percent: Array = 100 * np.asarray(grid, float)
    found = agreements.dropna(subset=["tau"]) if "tau" in agreements else agreements.iloc[:0]
    taus = dict(zip(found["variation"], found["tau"], strict=True))
    figure, axis = plt.subplots(figsize=(10, 4.4), layout="constrained")
    axis.imshow(percent, cmap="Blues", vmin=0, vmax=110, aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        if np.isfinite(value):
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 60 else "black")
    names = [f"{name.replace('_', ' ')}\nτ {taus[name]:.2f}" if name in taus else name for name in columns]
    axis.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(order)), order)
    axis.set_title("Success (%) by head, mean of the tasks; τ: rank agreement with base", loc="left", fontsize=11)
    axis.tick_params(length=0)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Analyses and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/studies/heads_zoo"))
    parser.add_argument("--output", type=Path, help="where to write; default: the same folder")
    options = parser.parse_args()
    study = read_study(options.folder)
    agreements, rates = tables(study)
    encoders = encoder_table(study)
    output: Path = options.output or options.folder
    output.mkdir(parents=True, exist_ok=True)
    agreements.round(4).to_csv(output / "agreement.csv", index=False)
    rates.round(4).to_csv(output / "scores.csv", index=False)
    encoders.round(4).to_csv(output / "encoders.csv", index=False)
    draw(agreements, rates, output / "study.png")
    columns = ("variation", "seeds", "contenders", "τ of the ranking", "τ without references", "τ of all scores")
    columns += ("pairs significant under both", "without references", "of all these reversed")
    columns += ("success against base", *(f"{readout} against class_token" for readout in GRIDS))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in agreements.to_dict("records"):
        gain = " | ".join(
            "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * row[f"{name}{end}"] for end in ("", "_low", "_high")))
            for name in ("difference", *GRIDS)
        )
        tau = f"{row['tau']:.2f} ({row['tau_low']:.2f} to {row['tau_high']:.2f})"
        others = f"{row['tau_images']:.2f} | {row['tau_by_task']:.2f} | "
        others += " | ".join(f"{row[name]:.0f}" for name in ("significant", "significant_images", "reversed"))
        line = f"| {row['variation']} | {row['seeds']} | {row['contenders']:.0f} | {tau} | {others} | {gain} |"
        lines.append(re.sub(r"nan \(nan to nan\)|\+?nan( \(\+?nan to \+?nan\))?", "-", line))
    names: list[str] = encoders["encoder"].unique().tolist()
    lines += ["", f"| variation | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for variation in study:
        part = encoders[encoders["variation"] == variation]
        told = {
            str(row["encoder"]): "{:.0f} ({:.0f} to {:.0f})".format(
                *(100 * row[key] for key in ("success", "low", "high"))
            )
            for row in part.to_dict("records")
        }
        lines.append(f"| {variation} | {' | '.join(told.get(name, '-') for name in names)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
