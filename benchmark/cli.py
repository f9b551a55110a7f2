"""The command line: `pvrbench VERB`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import cast

from benchmark import commands, pretraining_commands, result_commands
from benchmark.composition import compose_config
from benchmark.frames_commands import add_frames

RUN_HELP = """\
Settings are given as key=value and override the preset's; lists are written [a,b,c].

  pvrbench run preset=quickstart
  pvrbench run preset=quickstart tasks=[metaworld/assembly-v3] encoders=[pixels_14,oracle,proprio] \\
      num_demos=[5,10,25] seeds=[0,1,2] num_episodes=50 name=assembly
  pvrbench run encoders=[my_package.module:MyEncoder] train.num_updates=5000
  pvrbench run encoders=[timm:vit_small_patch16_224.dino,file:/path/mine.pth?model=vit_tiny_patch16_224]

All keys with their defaults: benchmark/conf/config.yaml. Names: `pvrbench list encoders|tasks|heads|readouts|presets`.
A run that was interrupted goes on where it stopped when the same command is given again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    # Threads of torch that wait for work are not to keep the simulators from it; read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if hasattr(options, "overrides"):
            options.config = compose_config(options.overrides)
        return cast("int", options.body(options))
    except KeyboardInterrupt:
        print("Interrupted. What is recorded is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if os.environ.get("PVRBENCH_DEBUG"):
            raise
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pvrbench",
        description="Ranks frozen visual encoders for robot manipulation: success against demonstrations.",
        epilog="Start with `pvrbench doctor`, then `pvrbench run preset=quickstart`.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, help_text: str, body: object, *, epilog: str | None = None) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=help_text,
            description=help_text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=epilog,
        )
        sub.set_defaults(body=body)
        return sub

    run = verb("run", "Run a benchmark and report it.", commands.run, epilog=RUN_HELP)
    run.add_argument("overrides", nargs="*", metavar="key=value")
    plan = verb("plan", "Check a benchmark and show what it would do.", commands.plan, epilog=RUN_HELP)
    plan.add_argument("overrides", nargs="*", metavar="key=value")
    report = verb("report", "Figures, tables and a page from the records of runs.", commands.report)
    report.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    report.add_argument("--output", help="folder for the report; default: the first run's")
    listing = verb("list", "List what can be named in a run.", commands.list_names)
    listing.add_argument("kind", choices=["encoders", "tasks", "heads", "readouts", "presets"])
    doctor = verb("doctor", "Render a frame in each suite; say what is missing and how to mend it.", commands.doctor)
    weights = commands.add_tools(verb)
    for sub in (plan, report, listing, doctor, weights):
        sub.add_argument("--json", action="store_true", help="print JSON for a program to read")
    add_frames(verb)
    result_commands.add_results(verb)
    pretraining_commands.add_pretraining(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
