"""Ranks visual encoders for robot manipulation. `import pvrbench as pvr`; everything public is an attribute here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pvrbench.benchmark.analysis.frame import read_records as read_records

__all__ = ["read_records"]


def __getattr__(name: str) -> object:
    # pandas takes a moment to import, which nobody who only runs should wait for.
    if name == "read_records":
        from pvrbench.benchmark.analysis.frame import read_records

        return read_records
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
