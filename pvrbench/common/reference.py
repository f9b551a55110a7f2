"""Entry points: `module:attribute` -> the object."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Row(Protocol):
    """A row of a catalog whose entry point makes something from it."""

    @property
    def name(self) -> str:
        """The row's name."""
        ...

    @property
    def entry_point(self) -> str:
        """`package.module:attribute`: a class or function that takes the row, or the thing itself."""
        ...


class EntryPointError(ValueError):
    """An entry point cannot be resolved; the text says why, in one line."""


def resolve(entry_point: str) -> Any:
    """Imports the object that an entry point names.

    Args:
        entry_point: `package.module:attribute`; the attribute may have dots (`module:Class.method`).

    Raises:
        EntryPointError: the text is no entry point, or the module or attribute cannot be had.
    """
    module_name, _, attribute = entry_point.partition(":")
    if not module_name or not attribute:
        raise EntryPointError(f"{entry_point!r} is not an entry point. Write it as module:attribute.")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # Importing runs foreign code, which may raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EntryPointError(
            f"{entry_point!r} cannot be imported: {reason}. The module must be installed or on PYTHONPATH."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise EntryPointError(f"{entry_point!r} cannot be imported: {module_name} has no attribute {attribute!r}.")
        found = getattr(found, part)
    return found


def made_from(row: Row, wanted: type[T], title: str, members: str) -> T:
    """What the entry point of a row makes of it.

    Args:
        row: the row.
        wanted: the class or protocol that it must follow.
        title: what rows of the catalog are called, for the error.
        members: what `wanted` has, for the error.

    Raises:
        EntryPointError: the entry point cannot be imported.
        ValueError: it makes something else.
    """
    make = resolve(row.entry_point)
    made: object = make(row) if callable(make) else make
    if not isinstance(made, wanted):
        raise ValueError(  # noqa: TRY004 - the row is wrong, not a caller's type
            f"{title} {row.name!r}: {row.entry_point} gives a {type(made).__name__}, which lacks {members}. "
            f"See {wanted.__module__}.{wanted.__qualname__}."
        )
    return made
