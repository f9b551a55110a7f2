"""What do probes say of the encoders of the zoo, and do they predict success?

Every encoder of the zoo study and some pixels, all probes, four tasks. `run` records, and does not make again what is
recorded. `analyse` writes `probes.csv`, `prediction.csv` and `prediction.png` beside the records and prints the tables
in Markdown. Success is that of the committed records of `results/studies/zoo`. Run as
`python tests/performance/study_probes.py run|analyse [--folder FOLDER] [key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

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


def main() -> None:
    """Runs or analyses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--folder", type=Path, default=Path("results/studies/probes"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    run(options.folder, options.overrides)


if __name__ == "__main__":
    main()
