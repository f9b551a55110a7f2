"""Ranks visual encoders for robot manipulation. `import pvrbench as pvr`; everything public is an attribute here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pvrbench.benchmark.api import (
        check_encoder,
        list_encoders,
        load_encoder,
        load_task,
        plan,
        rank,
        read_records,
        run,
    )

__all__ = [
    "check_encoder",
    "list_encoders",
    "load_encoder",
    "load_task",
    "plan",
    "rank",
    "read_records",
    "run",
]


def __getattr__(name: str) -> object:
    # Imported when first used, so that `import pvrbench` costs nothing.
    if name in __all__:
        from pvrbench.benchmark import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
