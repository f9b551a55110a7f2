"""What a job did, and what several did together. Importable without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job did; results add up to that of the run.

    Attributes:
        num_recorded: cells recorded.
        num_skipped: cells that were recorded before.
        frames_encoded: demonstration frames that went through the encoder.
        frames_cached: demonstration frames whose features were in the cache.
        policies_loaded: policies that were stored already.
        failed: for each cell that was recorded without episodes, or with none that came to an end, why.
        errors: for each job that did not come to its end, why.
        node_seconds: what jobs took on the machines of a cluster, added up; 0 for those of this machine.
    """

    num_recorded: int = 0
    num_skipped: int = 0
    frames_encoded: int = 0
    frames_cached: int = 0
    policies_loaded: int = 0
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    errors: Mapping[str, str] = field(default_factory=dict[str, str])
    node_seconds: float = 0.0

    def __add__(self, other: JobResult) -> JobResult:
        """Both together."""
        return JobResult(
            self.num_recorded + other.num_recorded,
            self.num_skipped + other.num_skipped,
            self.frames_encoded + other.frames_encoded,
            self.frames_cached + other.frames_cached,
            self.policies_loaded + other.policies_loaded,
            {**self.failed, **other.failed},
            {**self.errors, **other.errors},
            self.node_seconds + other.node_seconds,
        )


def summed(results: Iterable[JobResult]) -> JobResult:
    """What several jobs did."""
    return sum(results, start=JobResult())
