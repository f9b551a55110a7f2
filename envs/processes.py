"""Processes that work for another and do not outlive it."""

from __future__ import annotations

import os
import signal
from multiprocessing import parent_process
from threading import Thread


def serve_parent(*, dies_of_interruptions: bool = False) -> None:
    """Initialises a process of a pool.

    A parent that is killed ends nobody: its children would wait for work for ever.

    Args:
        dies_of_interruptions: end at once when the user interrupts, rather than finish what is being done: for long
            pieces of work of which nothing is left half done.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL if dies_of_interruptions else signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
