"""Reading, analysing and rendering a large study: 20 encoders, 10 tasks, 5 N, 5 seeds, 50 episodes in 5000 cells.

The records are made up and are no results. Prints one JSON object of seconds and memory. Run as
`python tests/performance/bench_report.py [--encoders N]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from pvrbench.benchmark.records.store import RecordStore
from pvrbench.benchmark.reporting.report import write_report

FIXTURES = Path(__file__).parents[1] / "unit/benchmark/conftest.py"
TASKS = [
    "assembly",
    "basketball",
    "bin-picking",
    "box-close",
    "coffee-pull",
    "dial-turn",
    "hammer",
    "lever-pull",
    "push",
    "sweep",
]


def main() -> None:
    """Makes the records in a folder of their own, then measures the report alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", type=int, default=20)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("made_up", FIXTURES)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{FIXTURES} is not there.")
    made_up = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made_up)
    from pvrbench.encoders.catalog import ENCODERS

    images = [name for name, row in ENCODERS.items() if row.modality == "image" and "grid" in row.outputs]
    rates = {name: 0.2 + 0.6 * index / options.encoders for index, name in enumerate(images[: options.encoders])}
    with tempfile.TemporaryDirectory() as folder:
        run_dir = made_up.make_run(
            Path(folder) / "run",
            f"tasks=[{','.join(f'metaworld/{task}-v3' for task in TASKS)}]",
            "readouts=[mean]",
            "num_demos=[1,5,10,25,50]",
            "demo_pool=50",
            "seeds=[0,1,2,3,4]",
            "num_episodes=50",
            rates=rates,
        )
        num_cells = len(RecordStore(run_dir).read()[0])
        start = time.perf_counter()
        write_report([run_dir], run_dir / "report")
        seconds = time.perf_counter() - start
        page_mib = (run_dir / "report" / "report.html").stat().st_size / 2**20
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"cells": num_cells, "report_s": round(seconds, 1), "peak_mib": round(peak_mib), "page_mib": page_mib}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
