"""What the references reach: oracle, proprioception and expert on every task, and under every preset's own settings.

Records what is missing, one part after another: `standard` on all tasks of the catalog, and each other preset on its
own tasks, at its largest N. Nothing is rendered, because no reference reads images. `envs/measured.csv` holds the
rates of the part `standard`. Run as
`python tests/performance/study_references.py [PART ...] [--output FOLDER] [--with key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pvrbench.benchmark.composition import compose_config, preset_names
from pvrbench.envs.catalog import TASKS

OUTPUT = Path("results/studies/references")

NUM_STATES = 20
OF_ALL_TASKS = "standard"


def settings(preset: str) -> list[str]:
    """What a part overrides: the contenders, the largest N alone, and the number of states."""
    most = max(compose_config([f"preset={preset}"]).num_demos)
    keys = [
        *(f"preset={preset}", "encoders=[oracle]", "baselines=[proprio,expert]", "cameras=[default]"),
        *("readouts=[pooled]", f"num_demos=[{most}]", f"num_episodes={NUM_STATES}"),
        *("engine.videos=false", "engine.keep_policies=false"),
    ]
    return [*keys, f"tasks=[{','.join(TASKS)}]"] if preset == OF_ALL_TASKS else keys


def run(presets: Sequence[str], output: Path, overrides: Sequence[str]) -> int:
    """Records what is missing of each part; returns how many parts did not come to their end."""
    failed = 0
    for preset in presets:
        keys = [*settings(preset), f"name=references-{preset}", f"run_dir={output / preset}", *overrides]
        failed += subprocess.run([sys.executable, "-m", "pvrbench", "run", *keys], check=False).returncode != 0
    return failed


def main() -> int:
    """Records the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("all", *preset_names()), default="all", metavar="PART")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--with", dest="overrides", nargs="*", default=(), metavar="key=value")
    options = parser.parse_args()
    return run(preset_names() if "all" in options.parts else options.parts, options.output, options.overrides)


if __name__ == "__main__":
    sys.exit(main())
