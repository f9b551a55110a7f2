"""How computations use the machine: the cores that one of them takes, and how exact its numbers are."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


def use_full_float32() -> None:
    """Makes torch compute float32 with all its digits: no TF32, and no bfloat16 in its place on a processor.

    cuDNN rounds to TF32 by default, which moves features in the fourth digit, and an encoder's code may switch on more.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def uses_tf32() -> bool:
    """Whether torch may round float32 to TF32 in convolutions or products of matrices."""
    return bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)


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


@contextmanager
def side_by_side(num_lanes: int, num_threads: int) -> Generator[ThreadPoolExecutor]:
    """An executor that runs `num_lanes` computations at once, which share `num_threads` threads evenly.

    Several computations of one thread each use the cores better than one on all of them: the layers of a network are
    too small to be shared out, and threads that wait for one another take the cores from the simulators.
    """
    threads = torch.get_num_threads()
    each = max(1, num_threads // num_lanes)
    executor = ThreadPoolExecutor(num_lanes, "lane", torch.set_num_threads, (each,))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # one of the libraries beneath keeps one number for all
