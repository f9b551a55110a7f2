"""The command line: `pvrbench VERB`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import cast

from pvrbench.benchmark.commands.catalogs import add_catalogs
from pvrbench.benchmark.commands.demos import add_demos
from pvrbench.benchmark.commands.frames import add_frames
from pvrbench.benchmark.commands.machine import add_machine
from pvrbench.benchmark.commands.pretraining import add_pretraining
from pvrbench.benchmark.commands.results import add_results
from pvrbench.benchmark.commands.run import add_run
from pvrbench.benchmark.commands.weights import add_weights
from pvrbench.benchmark.composition import compose_config

ADD_VERBS = (add_run, add_results, add_catalogs, add_demos, add_weights, add_machine, add_frames, add_pretraining)


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

    for add in ADD_VERBS:
        add(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
