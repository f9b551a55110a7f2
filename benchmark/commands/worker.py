"""One task of a script that `pvrbench plan --slurm` printed: `python -m ...worker TASK key=value ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.executors.base import RunSite
from pvrbench.benchmark.engine.executors.cluster import prepare_site, work
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.common.files import write_atomically


def main(arguments: Sequence[str]) -> int:
    """Does one job of a run, or prepares all of them; returns the exit status.

    Args:
        arguments: `prepare` or the number of a job, then the settings of the run.
    """
    task, *overrides = arguments
    plan = make_plan(compose_config(overrides))
    site = RunSite(plan.config, plan.config.output_dir.absolute())
    if task == "prepare":
        from pvrbench.benchmark.engine.runner import recorded_cells, to_retry

        store = RecordStore(site.run_dir)
        for cell in to_retry(plan.config, recorded_cells(plan, store)[0]):
            store.set_aside(cell)
        write_atomically(site.run_dir / "config.json", plan.config.model_dump_json(indent=1) + "\n")
        prepare_site(site, plan.jobs)
        return 0
    result = work(site, plan.jobs[int(task)])
    for name, reason in (*result.errors.items(), *result.failed.items()):
        sys.stderr.write(f"error: {name}: {reason}\n")
    sys.stdout.write(f"{result.num_recorded} cells recorded.\n")
    return 1 if result.errors or result.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
