"""The processor cores that a run may use, and how many of them one computation takes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Generator[None]:
    """Runs small networks on one thread: several would take the cores from the simulators and wait for one another.

    The number of threads does not change a bit of the result.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
