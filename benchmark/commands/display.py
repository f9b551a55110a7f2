"""What a run shows in the terminal: lines worth reading, and progress with the time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressDisplay:
    """Listens to a run; a context manager.

    Args:
        console: where to write, see `pvrbench.benchmark.commands.verb.terminal`.
        num_cells: cells of the run.
    """

    def __init__(self, console: Console, num_cells: int) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._cells = self._progress.add_task("cells", total=num_cells)
        self._stage = self._progress.add_task("starting", total=None)
        self._text = ""

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.remove_task(self._stage)
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line worth reading."""
        self.console.print(text)

    def stage(self, text: str, total: int) -> None:
        """A stage of known length begins."""
        if not self.console.is_terminal and text != self._text:
            # A log file has no moving bar; each stage is one line of it.
            self.say(text)
        self._text = text
        self._progress.reset(self._stage, description=text, total=total)

    def advance(self, count: int) -> None:
        """Some of the stage is done."""
        self._progress.advance(self._stage, count)

    def finished(self, num_cells: int) -> None:
        """Some cells of the run are recorded."""
        self._progress.advance(self._cells, num_cells)
