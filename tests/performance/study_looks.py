"""Which encoders keep their success under changed looks, and does the nominal ranking foretell the one under them?

`run` trains policies under the nominal look and tries them under one look of each axis, on the same initial states.
Jobs go look by look, so a stopped run has whole looks, and the same command goes on. `evaluate` does the same with the
stored policies of another run, such as those of `study_trained.py`, and writes nothing into its folder. `analyse`
writes `looks.csv` and prints tables in Markdown from the looks of which everything is recorded.

`python tests/performance/study_looks.py run|analyse [--folder FOLDER] [key=value ...]`, or
`python tests/performance/study_looks.py evaluate --trained RUN_DIR [--folder FOLDER] [key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pvrbench.benchmark.analysis.comparison import load_looks
from pvrbench.benchmark.analysis.shifts import analyse_shifts
from pvrbench.benchmark.analysis.statistics import analyse as analyse_records
from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.benchmark.reporting.looks import agreement_rows, interaction_rows, looks_csv, retained_rows
from pvrbench.benchmark.reporting.markdown import markdown_table
from pvrbench.benchmark.reporting.style import styles_of

# One level of each axis, so that a short run has the most different ones first.
LOOKS = (
    *("distractors@3", "table_texture/dark_wood@3", "camera/position@2", "light/cast_right@2", "background@3"),
    *("object_colour@2", "image_noise/gaussian@2", "combined@2"),
)
SETTINGS = {
    "tasks": "[metaworld/button-press-topdown-v3]",
    "encoders": "[zoo_vcond,zoo_mae,zoo_simclr,random_zoo_vit,pixels_14]",
    "baselines": "[oracle,proprio]",
    "readouts": "[grid_pca]",
    "num_demos": "[25]",
    "seeds": "[0,1]",
    "num_episodes": "20",
    "horizon": "120",
    "demo_pool": "25",
    "image_px": "112",
    "train.num_updates": "1000",
    "engine.videos": "false",
}
DEFAULT_FOLDER = Path("results/studies/looks")


def run(folder: Path, overrides: Sequence[str]) -> None:
    """Trains what is missing, and evaluates what is not recorded."""
    settings = {**SETTINGS, "looks": f"[{','.join(LOOKS)}]", "name": "looks", "run_dir": str(folder)}
    _pvrbench("run", *(f"{key}={value}" for key, value in settings.items()), *overrides)


def evaluate(folder: Path, trained: Path, overrides: Sequence[str]) -> None:
    """Evaluates the stored policies of a run at its largest N."""
    _pvrbench("evaluate", str(trained), f"looks=[{','.join(LOOKS)}]", f"run_dir={folder}", *overrides)


def _pvrbench(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pvrbench", *arguments], check=True)


def analyse(folder: Path) -> None:
    """Writes `looks.csv` and prints what is retained, the agreement of the ranks, and who loses more than whom."""
    by_look = load_looks([folder])
    if not by_look:
        raise SystemExit(f"{folder} has no changed look beside the nominal one yet.")
    sizes = {look: len(records) for look, records in by_look.items()}
    whole = {look: records for look, records in by_look.items() if len(records) == sizes[NOMINAL]}
    for look in sizes.keys() - whole.keys():
        sys.stderr.write(f"{look} is left out: {sizes[look]} of {sizes[NOMINAL]} cells are recorded\n")
    shifts = analyse_shifts(whole)
    (folder / "looks.csv").write_text(looks_csv(shifts), encoding="utf-8")
    order = list(styles_of(analyse_records(whole[NOMINAL])))
    tables = [retained_rows(shifts, order), agreement_rows(shifts), interaction_rows(shifts.interactions)]
    sys.stdout.write("\n\n".join("\n".join(markdown_table(rows)) for rows in tables) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "evaluate", "analyse"))
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    if given.what == "run":
        run(given.folder, given.overrides)
    elif given.what == "analyse":
        analyse(given.folder)
    elif given.trained is None:
        parser.error("evaluate needs --trained RUN_DIR, the run whose policies are tried.")
    else:
        evaluate(given.folder, given.trained, given.overrides)
