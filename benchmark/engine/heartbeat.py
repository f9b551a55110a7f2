"""Signs of life of a job, in the run's folder: `pvrbench status` reads them, on whatever machine it runs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from pvrbench.benchmark.records.state import RUNNING
from pvrbench.common.files import write_atomically

BEAT_S = 30.0


@contextmanager
def heartbeat(run_dir: Path, name: str, title: str) -> Generator[None]:
    """Keeps a file in `run_dir/running` fresh while a job is done, and removes it afterwards.

    A job that is killed leaves its file, which then is not fresh any more.

    Args:
        run_dir: the run's folder.
        name: of the job, for the file.
        title: of the job, for readers.
    """
    path = run_dir / RUNNING / f"{name}.json"
    text = json.dumps({"job": title, "host": platform.node(), "process": os.getpid()})
    with suppress(OSError):  # a full disk is told where a record is written
        write_atomically(path, text + "\n")
    over = Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            with suppress(OSError):
                os.utime(path)

    thread = Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            path.unlink(missing_ok=True)
