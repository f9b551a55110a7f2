"""Bodies of `pvrbench demos collect | verify | info | export | import`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.commands.verb import UserPath, Verb, VerbSettings
from pvrbench.benchmark.engine.hardware import cache_root


class DemosSettings(VerbSettings):
    """Settings of `pvrbench demos`."""

    subjects: ClassVar[tuple[str, ...]] = ("action", "task")

    action: Literal["collect", "verify", "info", "export", "import"]
    """What is done with the demonstrations of the task."""
    task: str
    """Catalog name or `module:attribute`."""
    num: Annotated[int, Field(ge=1)] = 50
    """Demonstrations wanted in all (collect, import)."""
    noise: Annotated[float, Field(ge=0)] | None = None
    """Noise of the executed actions; the task's own where it is left out."""
    end: str | None = None
    """Where they end: `first_success`, `hold_<steps>` or `full_horizon`; the task's own where it is left out."""
    horizon: Annotated[int, Field(ge=1)] | None = None
    """Steps of an episode at most; the task's own where it is left out."""
    file: UserPath | None = None
    """robomimic file to write (export) or read (import)."""


def demos_command(settings: DemosSettings) -> int:
    """Collects, verifies or describes the demonstrations of a task."""
    from pvrbench.benchmark.engine.context import load_task
    from pvrbench.envs.demos.collection import collect_demos, verify_demos
    from pvrbench.envs.demos.demo_set import DemoSet, demo_path
    from pvrbench.envs.demos.robomimic_file import export_demos, import_demos
    from pvrbench.envs.spec import DemoEnd

    spec = tasks()[settings.task]
    spec = replace(spec, horizon=spec.horizon if settings.horizon is None else settings.horizon)
    task = load_task(spec)
    noise = spec.demo_noise if settings.noise is None else settings.noise
    end = spec.demo_end if settings.end is None else DemoEnd.parse(settings.end)
    path = demo_path(cache_root(None), spec, end)
    match settings.action, settings.file:
        case "export" | "import", None:
            raise ValueError(f"`pvrbench demos {settings.action}` needs file=FILE.")
        case "collect", _:
            collect_demos(task, settings.num, path, action_noise=noise, end=end)
        case "import", file:
            for note in import_demos(task, file, path, settings.num, end).notes:
                sys.stdout.write(f"note: {note}\n")
        case "export", file:
            export_demos(task, DemoSet.open(path, spec, noise, end), file)
            sys.stdout.write(f"{file} written\n")
        case "verify", _:
            complaints = verify_demos(task, DemoSet.open(path, spec, noise, end))
            sys.stdout.write("".join(f"{line}\n" for line in complaints) or "every demonstration replays to success\n")
            return 1 if complaints else 0
        case _:
            pass
    demos = DemoSet.open(path, spec, noise, end)
    sys.stdout.write(f"{path}: {demos.manifest}, content {demos.digest[:16]}\n")
    return 0


DEMOS = Verb(
    name="demos",
    summary="Collect, verify, describe, export or import the demonstrations of a task.",
    settings=DemosSettings,
    body=demos_command,
    details="""\
  pvrbench demos collect metaworld/assembly-v3 num=100
  pvrbench demos export robosuite/lift file=lift.hdf5""",
)
