"""Records of probes on disk."""

from __future__ import annotations

from pvrbench.benchmark.records.probe_schema import PROBE_SCHEMA_VERSION, ProbeRecord
from pvrbench.benchmark.records.sealed_store import SealedStore


class ProbeStore(SealedStore[ProbeRecord]):
    """The records of probes of a run directory."""

    folder = "probes"
    what = "record of a probe"
    version = PROBE_SCHEMA_VERSION
    kind = ProbeRecord
