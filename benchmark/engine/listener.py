"""Who hears of a run's progress: the contract, and a listener for callers without a terminal display."""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

LOGGER = logging.getLogger("pvrbench")


@runtime_checkable
class Listener(Protocol):
    """Hears how a run goes; the command line shows it, tests collect it."""

    def say(self, text: str) -> None:
        """One line worth reading."""
        ...

    def stage(self, text: str, total: int) -> None:
        """A stage of known length begins."""
        ...

    def advance(self, count: int) -> None:
        """Some of the stage is done."""
        ...

    def finished(self, num_cells: int) -> None:
        """Some cells of the run are recorded."""
        ...


class LogListener:
    """Writes what is worth reading to the logger `pvrbench`, one line each."""

    def say(self, text: str) -> None:
        """One line worth reading."""
        LOGGER.info("%s", text)

    def stage(self, text: str, total: int) -> None:
        """A stage of known length begins."""
        LOGGER.info("%s (%d)", text, total)

    def advance(self, count: int) -> None:
        """Some of the stage is done."""

    def finished(self, num_cells: int) -> None:
        """Some cells of the run are recorded."""
        LOGGER.info("%d cells recorded", num_cells)
