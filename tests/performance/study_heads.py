"""Does the ranking of encoders depend on the head? Runs the `standard` protocol's head and variations of it.

Each variation changes one thing of the head's training and is a run of its own on the selection states, at N = 10.
Rank agreement (Kendall's tau over task-wise success) is that of each variation with the base. Run as
`python tests/performance/study_heads.py [--output FOLDER] [VARIATION ...]`; what is recorded is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

BASE = {
    "tasks": "[metaworld/assembly-v3,metaworld/bin-picking-v3,metaworld/button-press-topdown-v3,robosuite/lift]",
    "encoders": "[zoo_mae,zoo_clip,zoo_dift,random_zoo_vit]",
    "baselines": "[oracle,proprio]",
    "readouts": "[class_token,mean,grid4,grid_pca]",
    "num_demos": "[10]",
    "seeds": "[0]",
    "num_episodes": "15",
    "horizon": "150",
    "demo_pool": "25",
    "split": "selection",
    "image_px": "112",
    "engine.videos": "false",
}
# The base has a second training seed: how well two trainings of one head agree is what the others are measured by. So
# has the other kind of head.
VARIATIONS = {
    "base": {"seeds": "[0,1]"},
    "gmm": {"heads": "[gmm]", "seeds": "[0,1]"},
    "updates_1000": {"train.num_updates": "1000"},
    "updates_9000": {"train.num_updates": "9000"},
    "width_64": {"head_options": "{hidden:[64,64]}"},
    "width_1024": {"head_options": "{hidden:[1024,1024]}"},
    "batch_32": {"train.batch_size": "32"},
    "dropout_0.1": {"train.dropout": "0.1"},
    "history_3": {"history": "3", "fusion": "concat"},
    "input_norm_batch": {"train.input_norm": "batch"},
    "input_norm_global": {"train.input_norm": "global"},
    "learning_rate_3e-4": {"train.learning_rate": "0.0003"},
    "no_proprio": {"train.use_proprio": "false"},
}


def main() -> None:
    """Runs every variation, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/studies/heads_zoo"))
    parser.add_argument("variations", nargs="*", choices=("all", *VARIATIONS), default="all", metavar="VARIATION")
    options = parser.parse_args()
    for name in VARIATIONS if "all" in options.variations else options.variations:
        keys = {**BASE, **VARIATIONS[name], "name": name, "run_dir": str(options.output / name)}
        command = [
            sys.executable,
            "-m",
            "pvrbench.benchmark.cli",
            "run",
            *(f"{key}={value}" for key, value in keys.items()),
        ]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
