"""Bodies of `pvrbench demos collect | verify | info | export | import`."""

from __future__ import annotations

import sys
from argparse import Namespace
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
    demos.add_argument("--noise", type=float, help="noise of executed actions (collect); default the task's own")
    demos.add_argument("--file", help="robomimic file to write (export) or read (import)")


def demos_command(options: Namespace) -> int:
    """Collects, verifies or describes the demonstrations of a task."""
    from pvrbench.benchmark.engine.training import demo_path
    from pvrbench.benchmark.engine.context import load_task
    from pvrbench.envs.demos.demo_file import DemoFile, collect_demos, verify_demos
    from pvrbench.envs.demos.robomimic_file import export_demos, import_demos

    task = load_task(tasks()[options.task])
    path = demo_path(cache_root(None), task.spec)
    if options.action in ("export", "import") and not options.file:
        raise ValueError(f"`pvrbench demos {options.action}` needs --file FILE.")
    match options.action:
        case "collect":
            noise = task.spec.demo_noise if options.noise is None else options.noise
            collect_demos(task, options.num, path, action_noise=noise)
        case "import":
            import_demos(task, Path(options.file), path, options.num)
        case "export":
            export_demos(task, DemoFile(path, task.spec), Path(options.file))
            sys.stdout.write(f"{options.file} written\n")
        case "verify":
            complaints = verify_demos(task, DemoFile(path, task.spec))
            sys.stdout.write("".join(f"{line}\n" for line in complaints) or "every demonstration replays to success\n")
            return 1 if complaints else 0
        case _:
            pass
    file = DemoFile(path)
    lengths = [len(file.demo(index).actions) for index in range(len(file))]
    steps = f"{sum(lengths)} steps, {min(lengths)} to {max(lengths)} each" if lengths else "no steps"
    sys.stdout.write(f"{path}: {len(file)} demonstrations, {steps}, content {file.digest_of(len(file))[:16]}\n")
    return 0
