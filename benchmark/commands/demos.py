"""Bodies of `pvrbench demos collect | verify | info | export | import`."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.commands.verb import AddVerb
from pvrbench.benchmark.engine.hardware import cache_root


def add_demos(verb: AddVerb) -> None:
    """Adds the verb."""
    demos = verb("demos", "Collect, verify or describe demonstrations.", demos_command)
    demos.add_argument("action", choices=["collect", "verify", "info", "export", "import"])
    demos.add_argument("task", help="catalog name")
    demos.add_argument("--num", type=int, default=50, help="demonstrations wanted in all (collect, import); default 50")
    demos.add_argument("--noise", type=float, help="noise of executed actions; default the task's own")
    demos.add_argument("--end", help="first_success, hold_<steps> or full_horizon; default the task's own")
    demos.add_argument("--horizon", type=int, help="steps of an episode at most; default the task's own")
    demos.add_argument("--file", help="robomimic file to write (export) or read (import)")


def demos_command(options: Namespace) -> int:
    """Collects, verifies or describes the demonstrations of a task."""
    from pvrbench.benchmark.engine.context import load_task
    from pvrbench.envs.demos.collection import collect_demos, verify_demos
    from pvrbench.envs.demos.demo_set import DemoSet, demo_path
    from pvrbench.envs.demos.robomimic_file import export_demos, import_demos
    from pvrbench.envs.spec import DemoEnd

    spec = tasks()[options.task]
    spec = replace(spec, horizon=spec.horizon if options.horizon is None else options.horizon)
    task = load_task(spec)
    noise = spec.demo_noise if options.noise is None else options.noise
    end = spec.demo_end if options.end is None else DemoEnd.parse(options.end)
    path = demo_path(cache_root(None), spec, end)
    if options.action in ("export", "import") and not options.file:
        raise ValueError(f"`pvrbench demos {options.action}` needs --file FILE.")
    match options.action:
        case "collect":
            collect_demos(task, options.num, path, action_noise=noise, end=end)
        case "import":
            for note in import_demos(task, Path(options.file), path, options.num, end).notes:
                sys.stdout.write(f"note: {note}\n")
        case "export":
            export_demos(task, DemoSet.open(path, spec, noise, end), Path(options.file))
            sys.stdout.write(f"{options.file} written\n")
        case "verify":
            complaints = verify_demos(task, DemoSet.open(path, spec, noise, end))
            sys.stdout.write("".join(f"{line}\n" for line in complaints) or "every demonstration replays to success\n")
            return 1 if complaints else 0
        case _:
            pass
    demos = DemoSet.open(path, spec, noise, end)
    sys.stdout.write(f"{path}: {demos.manifest}, content {demos.digest[:16]}\n")
    return 0
