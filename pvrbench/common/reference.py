"""Entry points: `module:attribute` -> the object."""

from __future__ import annotations

import importlib
from typing import Any


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
