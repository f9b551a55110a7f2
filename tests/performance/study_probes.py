"""What do probes say of the encoders of the zoo, and do they predict success?

Every encoder of the zoo study and some pixels, all probes, four tasks. `run` records, and does not make again what is
recorded. `analyse` writes the report, `prediction.csv` and `prediction.png` beside the records and prints the table
in Markdown. Success is that of the committed records of `results/studies/zoo`. Run as
`python tests/performance/study_probes.py run|analyse|pack [--folder FOLDER] [key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import pandas as pd

from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.frame import read_records
from pvrbench.benchmark.analysis.prediction import Prediction, predict
from pvrbench.benchmark.records.probe_store import ProbeStore
from pvrbench.benchmark.reporting.probe_report import write_probe_report

mpl.use("Agg")

TASKS = (
    "metaworld/assembly-v3",
    "metaworld/button-press-topdown-v3",
    "robosuite/lift",
    "metaworld/bin-picking-v3",
)
ENCODERS = (
    *("zoo_mae", "zoo_vcond", "zoo_simclr", "zoo_clip", "zoo_r3m", "zoo_dino", "zoo_dift"),
    *("random_zoo_vit", "random_zoo_unet", "pixels_28"),
)
SETTINGS = {
    "encoders": f"[{','.join(ENCODERS)}]",
    "baselines": "[]",
    "readouts": "[class_token,mean,grid_pca]",
    "probes": "[state_regression,action_regression,correspondence,segmentation]",
    "num_demos": "[5]",
    "demo_pool": "25",
    # As in the zoo study: the same demonstrations, pictures and features.
    "image_px": "112",
}


def run(folder: Path, overrides: list[str]) -> None:
    """Records what is missing, one task after another."""
    for task in TASKS:
        keys = [f"{key}={value}" for key, value in {**SETTINGS, "tasks": f"[{task}]", "run_dir": folder}.items()]
        subprocess.run([sys.executable, "-m", "pvrbench", "probe", *keys, *overrides], check=True)


# What is compared with success: probe, measure, what of, on which frames, and whether more is better.
SCORES = (
    ("state_regression", "r2", "positions", "held_out_demos", 1),
    ("state_regression", "r2", "positions", "strayed", 1),
    ("state_regression", "error_cm", "object", "strayed", -1),
    ("action_regression", "r2", "all", "held_out_demos", 1),
    ("correspondence", "pck_0.10", "all", "object", 1),
    ("correspondence", "pck_8px", "all", "object", 1),
    ("segmentation", "miou", "all", "", 1),
    ("segmentation", "iou", "object", "", 1),
)
ALL_TASKS = "mean of tasks"
# Probes of the grid have one value for each encoder; it is compared with success of this readout.
GRID_READOUT = "grid_pca"


def success_of(folder: Path) -> pd.Series:
    """Success rate by task, encoder and readout, over all N, seeds and states."""
    episodes = read_records(folder)
    return episodes.groupby(["task", "encoder", "readout"])["success"].mean()


def tables(measures: pd.DataFrame, success: pd.Series) -> Iterator[tuple[tuple[Any, ...], str, str, pd.DataFrame]]:
    """For each score: the contenders with their probe and success, of each task and of the mean of tasks."""
    for score in SCORES:
        probe, name, of, on, sign = score
        keys = (probe, name, of, on)
        chosen = measures.loc[(measures[["probe", "measure", "of", "on"]] == keys).all(axis=1)].copy()
        chosen["value"] = sign * chosen["value"]
        chosen["readout"] = chosen["readout"].replace("", GRID_READOUT)
        rows = chosen.merge(success.rename("success").reset_index(), on=["task", "encoder", "readout"])
        for readouts in ("all", GRID_READOUT) if len(rows) else ():
            part = rows if readouts == "all" else rows[rows["readout"] == GRID_READOUT]
            if readouts == "all" and set(part["readout"]) == {GRID_READOUT}:
                continue
            for task in sorted({*cast("list[str]", part["task"].tolist())}):
                yield score, readouts, task, part[part["task"] == task]
            if part["task"].nunique() < 2:
                continue
            mean = part.groupby(["encoder", "readout"], as_index=False)[["value", "success"]].mean()
            complete = part.groupby(["encoder", "readout"]).size() == part["task"].nunique()
            keep = [bool(complete[pair]) for pair in zip(mean["encoder"], mean["readout"], strict=True)]
            yield score, readouts, ALL_TASKS, mean[keep]


def analyse(folder: Path, success_folder: Path) -> None:
    """Writes the report, tables and figure, and prints the tables in Markdown."""
    write_probe_report(folder, folder / "report")
    measures = pd.read_csv(folder / "report" / "probes.csv", keep_default_na=False)
    names = sorted({*cast("list[str]", measures["task"].tolist())})
    shown = ALL_TASKS if len(names) > 1 else names[0]
    rows: list[dict[str, Any]] = []
    drawn: list[tuple[str, pd.DataFrame, Prediction]] = []
    for (probe, name, of, on, sign), readouts, task, found in tables(measures, success_of(success_folder)):
        if found["encoder"].nunique() < 4:
            continue
        result = predict(found["value"].to_numpy(float), found["success"].to_numpy(float), list(found["encoder"]))
        what = " ".join(part for part in (probe, name, of, on) if part) + (" (negated)" if sign < 0 else "")
        row: dict[str, Any] = {"probe": what, "readouts": readouts, "task": task}
        for key in ("pearson", "kendall", "violation"):
            interval: Interval = getattr(result, key)
            row |= {key: interval.estimate, f"{key}_low": interval.low, f"{key}_high": interval.high}
        rows.append({**row, "contenders": result.num_contenders, "encoders": result.num_encoders})
        if task == shown and readouts == GRID_READOUT:
            drawn.append((what, found, result))
    table = pd.DataFrame(rows).round(4)
    table.to_csv(folder / "prediction.csv", index=False)
    draw(drawn, folder / "prediction.png")
    sys.stdout.write("\n".join(markdown(table)) + "\n")


def markdown(table: pd.DataFrame) -> Iterator[str]:
    """The table of predictions, a row for each score, readouts and task."""
    yield "| probe | readouts | task | Pearson | Kendall | MMRV, points | contenders | encoders |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in cast("list[dict[str, Any]]", table.to_dict("records")):
        cells = [row["probe"], row["readouts"], row["task"]]
        cells += [
            f"{row[key]:.2f} ({row[f'{key}_low']:.2f} to {row[f'{key}_high']:.2f})" for key in ("pearson", "kendall")
        ]
        cells.append(
            "{:.0f} ({:.0f} to {:.0f})".format(*(100 * row[f"violation{end}"] for end in ("", "_low", "_high")))
        )
        yield f"| {' | '.join([*cells, str(row['contenders']), str(row['encoders'])])} |"


def draw(drawn: list[tuple[str, pd.DataFrame, Prediction]], path: Path) -> None:
    """Success against each score: a point for each encoder, its grid read by principal components."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained", sharey=True)
    places: list[Any] = axes.ravel().tolist()
    for axis, (what, found, result) in zip(places, drawn, strict=False):
        axis.scatter(found["value"].to_numpy(float), 100 * found["success"].to_numpy(float), s=22, color="#0072B2")
        for row in cast("list[dict[str, Any]]", cast("Any", found).to_dict("records")):
            place: tuple[float, float] = row["value"], 100 * row["success"]
            name = str(row["encoder"]).removeprefix("zoo_")
            axis.annotate(name, place, xytext=(3, 3), textcoords="offset points", fontsize=7)
        interval = result.pearson
        axis.set_title(f"r {interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})", fontsize=9)
        axis.set_xlabel(what, fontsize=8)
        axis.grid(alpha=0.3)
    for axis in places[::4]:
        axis.set_ylabel("success, %")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Runs, analyses, or packs the records into one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "analyse", "pack"])
    parser.add_argument("--folder", type=Path, default=Path("results/studies/probes"))
    parser.add_argument("--success", type=Path, default=Path("results/studies/zoo"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.action == "run":
        run(options.folder, options.overrides)
    elif options.action == "pack":
        sys.stdout.write(f"{ProbeStore(options.folder).pack()} records\n")
    else:
        analyse(options.folder, options.success)


if __name__ == "__main__":
    main()
