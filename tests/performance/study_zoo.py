"""Does the objective matter? Every encoder of the zoo, three readouts, three tasks of both suites; then the contrasts.

One network, one set of frames and one budget lie behind all encoders, so what differs is the objective. `run` records
(two and a half hours on four cores; what is recorded is not run again), `analyse` writes `contrasts.csv`, `scores.csv`
and `study.png` from the records and prints the tables in Markdown, `cards` notes on the card of each shipped encoder
where it is ahead of its untrained twin. Run as
`python tests/performance/study_zoo.py run|analyse|cards [--folder FOLDER] [key=value ...]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import stats

from pvrbench.benchmark.analysis.estimates import Interval, mean_interval
from pvrbench.benchmark.analysis.frame import read_records
from pvrbench.benchmark.analysis.pairing import compare_family, holm, paired_difference
from pvrbench.encoders.weights.location import SHIPPED
from pvrbench.envs.base import Array

mpl.use("Agg")

MASKED, CONTRASTIVE = ("zoo_mae", "zoo_vcond"), ("zoo_simclr", "zoo_clip", "zoo_r3m")
TRANSFORMERS = (*MASKED, *CONTRASTIVE, "zoo_dino")
ENCODERS = (*TRANSFORMERS, "zoo_dift")
UNTRAINED = {**dict.fromkeys(TRANSFORMERS, "random_zoo_vit"), "zoo_dift": "random_zoo_unet"}
READOUTS = ("class_token", "mean", "grid_pca")
SETTINGS = {
    "tasks": "[metaworld/assembly-v3,metaworld/button-press-topdown-v3,robosuite/lift]",
    "encoders": f"[{','.join((*ENCODERS, *dict.fromkeys(UNTRAINED.values())))}]",
    "baselines": "[oracle,proprio]",
    "readouts": f"[{','.join(READOUTS)}]",
    "num_demos": "[5,10,25]",
    "seeds": "[0,1,2]",
    "num_episodes": "20",
    "horizon": "150",
    "demo_pool": "25",
    "image_px": "112",
    # A third of the standard's: the head study found no difference.
    "train.num_updates": "1000",
    "engine.videos": "false",
}

SIGNIFICANT = 0.05

Contender = tuple[str, str]
Scores = Mapping[Contender, Mapping[int, Array]]
"""Success `tasks x seeds x states` by encoder and readout, then by N."""


def run(folder: Path, overrides: Sequence[str]) -> None:
    """Records what is missing."""
    keys = [f"{key}={value}" for key, value in {**SETTINGS, "name": "zoo", "run_dir": str(folder)}.items()]
    subprocess.run([sys.executable, "-m", "pvrbench", "run", *keys, *overrides], check=True)


def read_scores(folder: Path) -> Scores:
    """The scores of all contenders, on the tasks that are complete; others are named and left out."""
    episodes = read_records(folder)
    sizes = episodes.groupby("task").size()
    for task in sizes[sizes < sizes.max()].index:
        sys.stderr.write(f"{task} is left out: it has {sizes[task]} episodes, not all of its cells\n")
    episodes = episodes[episodes["task"].isin(sizes[sizes == sizes.max()].index)]
    found: dict[Contender, dict[int, Array]] = {}
    for key, part in episodes.groupby(["encoder", "readout", "num_demos"]):
        encoder, readout, num_demos = cast("tuple[str, str, int]", key)
        table = part.pivot_table(index="task", columns=["seed", "episode"], values="success", aggfunc="mean")
        values = table.to_numpy(float).reshape(len(table), part["seed"].nunique(), -1)
        found.setdefault((encoder, readout), {})[int(num_demos)] = values
    return found


def mean_of(scores: Scores, contenders: Sequence[Contender], numbers: Sequence[int]) -> Array:
    """Mean success of some contenders over some N, on each task, seed and state."""
    return np.mean([scores[name][number] for name in contenders for number in numbers], axis=0)


def contrasts(scores: Scores) -> list[dict[str, Any]]:
    """Paired differences of groups of contenders, and of encoders and their untrained twins, at each N and over all.

    The variances of encoder and twin are moderated by those of all pairs of contenders, as in a ranking. A contrast of
    groups has its own variance, because groups vary less than single contenders. Holm's method corrects over all rows.
    """
    every = sorted(next(iter(scores.values())))
    labels = [*((str(number), [number]) for number in every), ("all", every)]
    rows: list[dict[str, Any]] = []
    for title, (ours, theirs) in group_contrasts(scores).items():
        for label, numbers in labels:
            found = paired_difference(mean_of(scores, ours, numbers), mean_of(scores, theirs, numbers))
            rows.append({"contrast": title, "num_demos": label, **_row(*found)})
    rows += [
        {"contrast": f"{name} against untrained, {readout}", "num_demos": label, **_row(*found)}
        for (name, readout), found_by_label in twin_contrasts(scores, labels).items()
        for label, found in found_by_label.items()
    ]
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p_holm": p_value} for row, p_value in zip(rows, adjusted, strict=True)]


def _row(found: Interval, p_value: float) -> dict[str, Any]:
    return {"difference": found.estimate, "low": found.low, "high": found.high, "p": p_value}


def group_contrasts(scores: Scores) -> dict[str, tuple[list[Contender], list[Contender]]]:
    """The groups that are compared, by title."""
    transformers = [name for name in TRANSFORMERS if (name, "grid_pca") in scores]
    pairs: dict[str, tuple[list[Contender], list[Contender]]] = {}
    for spatial, collapsed in (("grid_pca", "class_token"), ("grid_pca", "mean"), ("mean", "class_token")):
        pairs[f"{spatial} against {collapsed}, six transformers"] = (
            [(name, spatial) for name in transformers],
            [(name, collapsed) for name in transformers],
        )
    for readout in READOUTS:
        contrastive = [(name, readout) for name in CONTRASTIVE]
        pairs[f"masked against contrastive, {readout}"] = [(name, readout) for name in MASKED], contrastive
        if ("zoo_dift", readout) in scores:
            pairs[f"denoising against contrastive, {readout}"] = [("zoo_dift", readout)], contrastive
    return pairs


def twin_contrasts(
    scores: Scores, labels: Sequence[tuple[str, Sequence[int]]]
) -> dict[Contender, dict[str, tuple[Interval, float]]]:
    """Difference of each encoder to its untrained twin and its p-value, by encoder and readout, then by label."""
    twins = [(name, readout) for name in UNTRAINED for readout in READOUTS if (name, readout) in scores]
    # An untrained network first, then what was trained from it: the order of the pairs below.
    contenders = sorted((name for name in scores if name[1] in READOUTS), key=lambda name: name[0] in UNTRAINED)
    found: dict[Contender, dict[str, tuple[Interval, float]]] = {name: {} for name in twins}
    for label, numbers in labels:
        outcomes = np.stack([mean_of(scores, [name], numbers) for name in contenders])
        family = compare_family(outcomes[:, None], [1.0])
        for name in twins:
            untrained = contenders.index((UNTRAINED[name[0]], name[1]))
            result = family[untrained, contenders.index(name)]
            ahead = Interval(-result.difference.estimate, -result.difference.high, -result.difference.low)
            found[name][label] = ahead, result.p_value
    return found


def probe_agreement(scores: Scores) -> dict[str, tuple[float, int]]:
    """Kendall's tau between a linear probe for places, as the cards say, and success over all N; and of how many.

    What the probe says of the untrained network is counted once, with the success of the twin of the transformers.
    """
    found: dict[str, tuple[float, int]] = {}
    for readout in READOUTS:
        pairs: dict[str, tuple[float, float]] = {}
        for name in (*ENCODERS, "random_zoo_vit"):
            values = scores.get((name, readout))
            if values is None:
                continue
            is_trained = name in ENCODERS
            card = json.loads((SHIPPED / f"{name.removeprefix('zoo_') if is_trained else 'mae'}.json").read_text())
            part = "grid" if readout == "grid_pca" else readout
            probe = card["probe"]["trained" if is_trained else "untrained"][part]["r2"]
            pairs[name] = probe, float(np.mean(list(values.values())))
        if len(pairs) > 1:
            tau: Any = stats.kendalltau(*zip(*pairs.values(), strict=True))
            found[readout] = float(tau.statistic), len(pairs)
    return found


def rates(scores: Scores) -> list[dict[str, Any]]:
    """Success of every contender at each N and over all, with intervals."""
    rows: list[dict[str, Any]] = []
    for (encoder, readout), values in scores.items():
        for label, numbers in [*((str(number), [number]) for number in values), ("all", list(values))]:
            found = mean_interval(np.mean([values[number] for number in numbers], axis=0))
            place = {"encoder": encoder, "readout": readout, "num_demos": label}
            rows.append({**place, "success": found.estimate, "low": found.low, "high": found.high})
    return rows


def draw(success: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Success over all N: a group for each encoder, a mark for each readout."""
    from matplotlib import pyplot as plt

    overall = sorted((row for row in success if row["num_demos"] == "all"), key=lambda row: row["success"])
    # By each encoder's best readout.
    order = list(reversed(dict.fromkeys(row["encoder"] for row in reversed(overall))))
    # References have a readout of their own and stand in the middle of their line.
    marks = {
        "class_token": ("#D55E00", -0.2),
        "mean": ("#E69F00", 0),
        "grid_pca": ("#0072B2", 0.2),
        "pooled": ("#555555", 0),
    }
    figure, axis = plt.subplots(figsize=(7.5, 5.2), layout="constrained")
    for readout, (colour, shift) in marks.items():
        rows = [row for row in overall if row["readout"] == readout]
        places = [order.index(row["encoder"]) + shift for row in rows]
        middle, low, high = (100 * np.array([row[key] for row in rows]) for key in ("success", "low", "high"))
        reach = [middle - low, high - middle]
        label = "references" if readout == "pooled" else readout
        axis.errorbar(middle, places, xerr=reach, fmt="o", ms=5, lw=1.2, label=label, color=colour)
    axis.set_yticks(range(len(order)), order)
    axis.set_xlim(0, 100)
    axis.set_xlabel("success, % (mean of tasks, N = 5, 10, 25, and seeds; 95 % intervals)")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def analyse(folder: Path) -> None:
    """Writes tables and figure, prints the tables in Markdown."""
    scores = read_scores(folder)
    success, differences = rates(scores), contrasts(scores)
    pd.DataFrame(success).round(4).to_csv(folder / "scores.csv", index=False)
    pd.DataFrame(differences).round(4).to_csv(folder / "contrasts.csv", index=False)
    draw(success, folder / "study.png")
    header = " | ".join(f"N {number}" for number in dict.fromkeys(row["num_demos"] for row in success))
    lines = [f"| encoder | readout | {header} |", "|---|---|---|---|---|---|"]
    of_contender: dict[Contender, list[Mapping[str, Any]]] = {}
    for row in success:
        of_contender.setdefault((row["encoder"], row["readout"]), []).append(row)
    for (encoder, readout), rows in sorted(of_contender.items(), key=lambda item: -item[1][-1]["success"]):
        cells = [f"{100 * row['success']:.0f}" for row in rows]
        cells[-1] += f" ({100 * rows[-1]['low']:.0f} to {100 * rows[-1]['high']:.0f})"
        lines.append(f"| {encoder} | {readout} | {' | '.join(cells)} |")
    lines += ["", f"| contrast, points; * after Holm's correction | {header} |", "|---|---|---|---|---|"]
    of_title: dict[str, list[str]] = {}
    for row in differences:
        points = [100 * row[key] for key in ("difference", "low", "high")]
        star = " \\*" if row["p_holm"] < SIGNIFICANT else ""
        of_title.setdefault(row["contrast"], []).append("{:+.1f} ({:+.1f} to {:+.1f})".format(*points) + star)
    lines += [f"| {title} | {' | '.join(cells)} |" for title, cells in of_title.items()]
    lines += ["", "| readout | tau of the probe for places with success | encoders |", "|---|---|---|"]
    lines += [f"| {name} | {tau:.2f} | {count} |" for name, (tau, count) in probe_agreement(scores).items()]
    sys.stdout.write("\n".join(lines) + "\n")


def against_untrained(contrasts: pd.DataFrame, encoder: str) -> dict[str, Any]:
    """What the card of an encoder says of its policies: differences to its twin, and where these are significant."""
    differences: dict[str, dict[str, list[float]]] = {}
    ahead: dict[str, list[str]] = {}
    for readout in READOUTS:
        rows = contrasts[contrasts["contrast"] == f"{encoder} against untrained, {readout}"].to_dict("records")
        if rows:
            differences[readout] = {
                str(row["num_demos"]): [float(row[key]) for key in ("difference", "low", "high")] for row in rows
            }
            ahead[readout] = [
                str(row["num_demos"])
                for row in rows
                if row["num_demos"] != "all" and row["p_holm"] < SIGNIFICANT and row["difference"] > 0
            ]
    return {"against": UNTRAINED[encoder], "difference_low_high_at_n": differences, "significantly_ahead_at_n": ahead}


def note_on_cards(folder: Path, cards: Path) -> None:
    """Writes `policies` into the card of each shipped encoder, from `contrasts.csv`."""
    table = pd.read_csv(folder / "contrasts.csv")
    for encoder in ENCODERS:
        path = cards / f"{encoder.removeprefix('zoo_')}.json"
        card = {**json.loads(path.read_text()), "policies": against_untrained(table, encoder)}
        path.write_text(json.dumps(card, indent=1) + "\n")


def main() -> None:
    """Runs, analyses, or notes on the cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "analyse", "cards"])
    parser.add_argument("--folder", type=Path, default=Path("results/studies/zoo"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    if options.action == "run":
        run(options.folder, options.overrides)
    elif options.action == "analyse":
        analyse(options.folder)
    else:
        note_on_cards(options.folder, SHIPPED)


if __name__ == "__main__":
    main()
