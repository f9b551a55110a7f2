"""How well does the future in frozen features predict, and can one plan with it?

Encoders of the zoo, an untrained twin and controls on two tasks. `run` records what is missing, and does not make again
what is recorded; the most important parts come first. `analyse` writes the report beside the records. Run as
`python tests/performance/study_imagination.py run|analyse|pack [--folder FOLDER] [key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from itertools import product
from pathlib import Path

from pvrbench.benchmark.records.imagination_store import ImaginationStore
from pvrbench.benchmark.reporting.imagination_report import write_imagination_report

TASKS = ("metaworld/reach-v3", "metaworld/button-press-v3")
ENCODERS = "[zoo_mae,zoo_clip,zoo_dift,random_zoo_vit]"
# Small enough for two processor cores: half the width of the defaults, and a third of their planning.
SETTINGS = {
    "image_px": "112",
    "imagination.num_trajectories": "120",
    "imagination.num_test_trajectories": "18",
    "imagination.width": "64",
    "imagination.rollout": "2",
    "imagination.batch_size": "16",
    "imagination.num_updates": "400",
    "imagination.horizon": "5",
    "imagination.num_samples": "32",
    "imagination.num_iterations": "3",
    "imagination.num_pairs": "16",
}
# In the order of their importance: encoders, seeds, models and controls.
PARTS = (
    (ENCODERS, "[0]", "[transformer]", "[random_actions,oracle,proprio]"),
    ("[oracle]", "[0]", "[transformer]", "[simulator]"),
    (ENCODERS, "[0]", "[linear]", "[oracle,proprio]"),
    (ENCODERS, "[0,1]", "[transformer,linear]", "[random_actions,oracle,proprio]"),
)


def run(folder: Path, overrides: list[str]) -> None:
    """Records what is missing, one part after another."""
    for task, (encoders, seeds, models, controls) in product(TASKS, PARTS):
        axes = {"tasks": f"[{task}]", "encoders": encoders, "seeds": seeds, "run_dir": str(folder)}
        chosen = {"imagination.models": models, "imagination.controls": controls}
        keys = [f"{key}={value}" for key, value in {**SETTINGS, **axes, **chosen}.items()]
        subprocess.run([sys.executable, "-m", "pvrbench", "imagine", *keys, *overrides], check=True)


def main(words: list[str]) -> int:
    """Runs, analyses or packs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["run", "analyse", "pack"])
    parser.add_argument("--folder", type=Path, default=Path("results/studies/imagination"))
    arguments, overrides = parser.parse_known_args(words)
    if arguments.action == "run":
        run(arguments.folder, overrides)
    elif arguments.action == "analyse":
        write_imagination_report(arguments.folder, arguments.folder / "report")
    else:
        sys.stdout.write(f"{ImaginationStore(arguments.folder).pack()} records\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
