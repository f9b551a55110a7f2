"""Does the ranking of encoders depend on the head? Runs the `standard` protocol's head and variations of it.

Each variation changes one thing of the head's training and is a run of its own on the selection states, at N = 10.
Rank agreement (Kendall's tau over task-wise success) is that of each variation with the base. Run as
`python tests/performance/study_heads.py [--output FOLDER]`; what is recorded is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

BASE = (
    "tasks=[metaworld/assembly-v3,metaworld/bin-picking-v3,metaworld/button-press-topdown-v3,robosuite/lift]",
    "encoders=[pixels_14,random_resnet18_64]",
    "readouts=[pooled,mean,grid2]",
    "num_demos=[10]",
    "seeds=[0,1]",
    "num_episodes=15",
    "horizon=150",
    "demo_pool=25",
    "split=selection",
    "image_px=112",
    "engine.videos=false",
)
VARIATIONS: dict[str, tuple[str, ...]] = {
    "base": (),
    "gmm": ("heads=[gmm]",),
    "updates_1000": ("train.num_updates=1000",),
    "updates_9000": ("train.num_updates=9000",),
    "width_1024": ("head_options={hidden:[1024,1024]}",),
    "input_norm_batch": ("train.input_norm=batch",),
}


def main() -> None:
    """Runs every variation, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/studies/heads"))
    options = parser.parse_args()
    for name, overrides in VARIATIONS.items():
        command = [sys.executable, "-m", "benchmark.cli", "run", *BASE, *overrides]
        subprocess.run([*command, f"run_dir={options.output / name}", f"name={name}"], check=True)


if __name__ == "__main__":
    main()
