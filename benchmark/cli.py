"""The command line: `pvrbench VERB`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from pvrbench.benchmark.catalog import unknown
from pvrbench.benchmark.commands.help import help_of, help_of_all
from pvrbench.benchmark.commands.verbs import VERBS
from pvrbench.benchmark.config import ConfigError
from pvrbench.common.files import describe_os_error

HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character is no reason to fail after hours of work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Threads of torch that wait for work are not to keep the simulators from it; read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return _run_verb(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("Interrupted. What is recorded is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if os.environ.get("PVRBENCH_DEBUG"):
            raise
        text = describe_os_error(error) if isinstance(error, OSError) else str(error)
        print(f"error: {' '.join(text.split()) or type(error).__name__}", file=sys.stderr)
        return 2


def _run_verb(words: list[str]) -> int:
    if not words or words[0] in HELP:
        print(help_of_all(VERBS.values()), end="")
        return 0 if words else 2
    if words[0] not in VERBS:
        raise ConfigError(unknown("verb", words[0], VERBS, "pvrbench --help"))
    verb = VERBS[words[0]]
    if any(word in HELP for word in words):
        print(help_of(verb), end="")
        return 0
    return verb(words[1:])


if __name__ == "__main__":
    sys.exit(main())
