"""What the head study shows: rank agreement of each variation with the base, as a table and a figure.

Reads what `study_heads.py` recorded, writes `agreement.csv`, `scores.csv` and `study.png` beside it and prints the
table in Markdown. Variations that are missing or not complete are left out. Run as
`python tests/performance/analyse_heads.py [FOLDER]`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import stats

from benchmark.estimates import mean_interval
from benchmark.frame import read_records
from benchmark.pairing import paired_difference
from envs.base import Array

mpl.use("Agg")

BASE = "base"
NUM_RESAMPLES = 2000


def read_study(folder: Path) -> dict[str, pd.DataFrame]:
    """Episodes of every variation by its name, the base first, in the order in which they were run.

    Raises:
        SystemExit: there is no base.
    """
    found = {path.parent.name: read_records(path.parent) for path in sorted(folder.glob("*/records"))}
    if BASE not in found:
        raise SystemExit(f"error: {folder} has no run named {BASE!r}. Run tests/performance/study_heads.py first.")
    per_seed = len(found[BASE]) / found[BASE]["seed"].nunique()
    found = {name: table for name, table in found.items() if len(table) == per_seed * table["seed"].nunique()}
    return dict(sorted(found.items(), key=lambda item: (item[0] != BASE, item[1]["seed"].nunique() == 1, item[0])))


def scores(episodes: pd.DataFrame, seeds: int) -> dict[str, Array]:
    """Success `tasks x seeds x states` of every contender (encoder and readout), of the first training seeds."""
    kept = episodes[episodes["seed"] < seeds]
    result: dict[str, Array] = {}
    for (encoder, readout), part in kept.groupby(["encoder", "readout"]):
        table = part.pivot_table(index="task", columns=["seed", "episode"], values="success", aggfunc="mean")
        name = str(encoder) if encoder in ("oracle", "proprio") else f"{encoder} {readout}"
        result[name] = table.to_numpy(float).reshape(len(table), seeds, -1)
    return result


def agreement(base: dict[str, Array], other: dict[str, Array]) -> dict[str, float]:
    """Kendall's tau-b of the ranking by mean success, with its bootstrap interval, and of all task-wise scores.

    The bootstrap draws the initial states, the same for both heads and all contenders: what another draw of states
    would have shown.
    """
    names = sorted(base.keys() & other.keys())
    first, second = (np.stack([values[name] for name in names]) for values in (base, other))
    rng = np.random.default_rng(0)
    num_states = first.shape[-1]
    drawn = [rng.integers(num_states, size=num_states) for _ in range(NUM_RESAMPLES)]
    taus = np.array([_tau(first[..., rows].mean((1, 2, 3)), second[..., rows].mean((1, 2, 3))) for rows in drawn])
    low, high = np.nanquantile(taus, [0.025, 0.975])
    difference, _ = paired_difference(second.mean(0), first.mean(0))
    return {
        "tau": _tau(first.mean((1, 2, 3)), second.mean((1, 2, 3))),
        "tau_low": float(low),
        "tau_high": float(high),
        "tau_by_task": _tau(first.mean((2, 3)).ravel(), second.mean((2, 3)).ravel()),
        "difference": difference.estimate,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def _tau(first: Array, second: Array) -> float:
    found: Any = stats.kendalltau(first, second)
    return float(found.statistic)


def tables(study: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement by variation, and success by variation and contender."""
    agreements: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for name, episodes in study.items():
        seeds = int(episodes["seed"].nunique())
        values = scores(episodes, seeds)
        if name != BASE:
            agreements.append({"variation": name, "seeds": seeds, **agreement(scores(study[BASE], seeds), values)})
        for contender, found in values.items():
            rate = mean_interval(found)
            place = {"variation": name, "contender": contender, "seeds": seeds}
            rows.append({**place, "success": rate.estimate, "low": rate.low, "high": rate.high})
    return pd.DataFrame(agreements), pd.DataFrame(rows)


def draw(agreements: pd.DataFrame, rates: pd.DataFrame, path: Path) -> None:
    """Success of every contender (rows, by the base) under every variation (columns, with their tau)."""
    from matplotlib import pyplot as plt

    order = rates[rates["variation"] == BASE].sort_values("success", ascending=False)["contender"].tolist()
    columns: list[str] = rates["variation"].unique().tolist()
    grid = rates.pivot_table(index="contender", columns="variation", values="success").loc[order, columns]
    percent: Array = 100 * np.asarray(grid, float)
    taus = dict(zip(agreements["variation"], agreements["tau"], strict=True)) if len(agreements) else {}
    figure, axis = plt.subplots(figsize=(10, 4.4), layout="constrained")
    axis.imshow(percent, cmap="Blues", vmin=0, vmax=110, aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
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
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/studies/heads"))
    folder: Path = parser.parse_args().folder
    agreements, rates = tables(read_study(folder))
    agreements.round(4).to_csv(folder / "agreement.csv", index=False)
    rates.round(4).to_csv(folder / "scores.csv", index=False)
    draw(agreements, rates, folder / "study.png")
    lines = [
        "| variation | seeds | τ of the ranking | τ of all scores | success against base |",
        "|---|---|---|---|---|",
    ]
    for row in agreements.to_dict("records"):
        tau = f"{row['tau']:.2f} ({row['tau_low']:.2f} to {row['tau_high']:.2f})"
        gain = (100 * row[key] for key in ("difference", "difference_low", "difference_high"))
        shown = "{:+.1f} ({:+.1f} to {:+.1f})".format(*gain)
        lines.append(f"| {row['variation']} | {row['seeds']} | {tau} | {row['tau_by_task']:.2f} | {shown} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
