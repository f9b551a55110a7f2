"""Records of imaginations on disk."""

from __future__ import annotations

from pvrbench.benchmark.records.imagination_schema import IMAGINATION_SCHEMA_VERSION, ImaginationRecord
from pvrbench.benchmark.records.sealed_store import SealedStore


class ImaginationStore(SealedStore[ImaginationRecord]):
    """The records of imaginations of a run directory."""

    folder = "imaginations"
    what = "record of an imagination"
    version = IMAGINATION_SCHEMA_VERSION
    kind = ImaginationRecord
