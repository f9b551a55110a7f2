"""Plans, runs, records and reports the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.analysis.frame import read_records as read_records

__all__ = ["read_records"]


def __getattr__(name: str) -> object:
    # pandas takes a moment to import, which nobody who only runs should wait for.
    if name == "read_records":
        from benchmark.analysis.frame import read_records

        return read_records
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
