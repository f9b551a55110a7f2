"""A plain Slurm script for a run, for sites where nothing may be installed beside pvrbench itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from pvrbench.benchmark.catalog import schedules
from pvrbench.benchmark.cluster import ClusterError
from pvrbench.benchmark.engine.executors.cluster import needs_of
from pvrbench.benchmark.plan import Plan

WORKER = "pvrbench.benchmark.commands.worker"


def array_script(plan: Plan, overrides: Sequence[str], folder: Path) -> str:
    """A script that hands itself in: `bash FILE` prepares, then runs one task for each job of the plan.

    Args:
        plan: the run.
        overrides: the settings that made it, `key=value` each.
        folder: where the tasks start; relative paths in the settings are taken from there.

    Raises:
        ClusterError: the schedule of the run decides between rounds, which a script cannot.
    """
    if schedules()[plan.config.episode_schedule].spans_run:
        raise ClusterError(
            f"episode_schedule={plan.config.episode_schedule} decides after each round what is run next, which a plain "
            "script cannot. Use engine.executor=slurm, or episode_schedule=fixed."
        )
    cluster, needs = plan.config.cluster, needs_of(plan.config, plan.jobs)
    run_dir = folder / plan.config.output_dir
    limit = f"%{cluster.parallel}" if cluster.parallel else ""
    options: dict[str, object] = {
        "job-name": "pvrbench",
        "array": f"0-{len(plan.jobs) - 1}{limit}",
        "time": needs.minutes,
        "cpus-per-task": needs.cores,
        "mem": f"{needs.memory_mib}M",
        "output": run_dir / "slurm" / "%A_%a.log",
        "open-mode": "append",
        "requeue": True,
    }
    if needs.gpus:
        options["gpus-per-node"] = needs.gpus
    options |= {key: value for key, value in (("partition", cluster.partition), ("account", cluster.account)) if value}
    options |= {**cluster.options}
    flags = [f"#SBATCH --{key}" if value is True else f"#SBATCH --{key}={value}" for key, value in options.items()]
    worker = f"{shlex.quote(sys.executable)} -m {WORKER}"
    settings = " ".join(shlex.quote(text) for text in overrides)
    return "\n".join(
        [
            "#!/bin/bash",
            *flags,
            "# Hand it in with `bash FILE`, as often as needed: what is recorded is not done again.",
            f"cd {shlex.quote(str(folder))} || exit 1",
            'if [ -z "$SLURM_ARRAY_TASK_ID" ]; then',
            f"  mkdir -p {shlex.quote(str(run_dir / 'slurm'))}",
            "  # Demonstrations and pictures are made once, before the array.",
            '  first=$(sbatch --parsable --array=0 --export=ALL,PVRBENCH_TASK=prepare "$0") || exit 1',
            '  exec sbatch --dependency="afterok:$first" --kill-on-invalid-dep=yes "$0"',
            "fi",
            f'exec {worker} "${{PVRBENCH_TASK:-$SLURM_ARRAY_TASK_ID}}" {settings}',
            "",
        ]
    )
