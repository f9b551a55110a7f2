"""Standard output is for what a program reads; what other people's code prints goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def printing_to_stderr() -> Generator[None]:
    """Sends what is printed meanwhile to stderr, by Python or by C code and child processes."""
    descriptors = _descriptors()
    if descriptors is None:
        # A notebook or a test holds the streams; C code cannot write to them.
        with redirect_stdout(sys.stderr):
            yield
        return
    out, err = descriptors
    sys.__stdout__.flush()  # pyright: ignore[reportOptionalMemberAccess] - it has a descriptor
    kept = os.dup(out)
    try:
        os.dup2(err, out)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.__stdout__.flush()  # pyright: ignore[reportOptionalMemberAccess]
        os.dup2(kept, out)
        os.close(kept)


def _descriptors() -> tuple[int, int] | None:
    """The descriptors of the process's own streams; None where they are closed or have none."""
    if sys.__stdout__ is None or sys.__stderr__ is None:
        return None
    try:
        return sys.__stdout__.fileno(), sys.__stderr__.fileno()
    except (OSError, ValueError):
        return None
