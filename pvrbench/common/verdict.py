"""What a check of a contract found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pvrbench.common.code import describe_error


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise and whether it was kept.

    Attributes:
        name: the promise, in words.
        problem: what was found instead, as a sentence; empty where the promise was kept.
    """

    name: str
    problem: str

    @property
    def is_kept(self) -> bool:
        """Whether nothing was found."""
        return not self.problem


def attempt(check: Callable[[], str]) -> str:
    """Runs a check of foreign code.

    Args:
        check: returns what is wrong, or an empty text.

    Returns:
        What the check returned; where it raised, a sentence that names the error and the line.
    """
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever foreign code raises is what was found
        return f"It raised {describe_error(error).rstrip('.')}."
