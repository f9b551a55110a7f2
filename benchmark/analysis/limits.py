"""What the records of a run do not allow to conclude, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pvrbench.benchmark.analysis.cube import Cube
from pvrbench.benchmark.records.schema import CellRecord

ONE_SEED = (
    "There is one training seed, so the variation between training runs is unknown. Intervals and p-values hold for "
    "these training runs only, and no ranks are given."
)

SHARED_DEMOS = (
    "At N = {number} any two training seeds share {share:.0%} of their demonstrations on average, because the pool "
    "holds {pool}. Intervals at this N include only a part of the variation between sets of demonstrations."
)

SAME_DEMOS = (
    "At N = {number} all training seeds use the same demonstrations, because the pool holds no more. Intervals at this "
    "N do not include the variation between sets of demonstrations."
)

# Degrees of freedom between training runs, tasks x (seeds - 1), from which the limit on false differences holds in
# simulation; see docs/statistics.md.
ENOUGH_FREEDOM = 6

FEW_RUNS = (
    "There are few training runs ({tasks}, {seeds} seeds), so the limit of 5 % on false differences is not guaranteed. "
    "Simulations reached {worst} % where one encoder varied much more between training runs than the others. Three "
    "tasks with three seeds keep the limit."
)
WORST_OF_FEW_RUNS = 9


def failures(records: Sequence[CellRecord]) -> list[str]:
    """What failed, in words."""
    warnings: list[str] = []
    failed = [record for record in records if record.failure is not None]
    if failed:
        names = ", ".join(sorted({record.cell.encoder for record in failed}))
        warnings.append(f"{len(failed)} cells have no episodes because their training failed ({names}).")
    reasons = [episode.failure for record in records for episode in record.episodes if episode.failure is not None]
    if reasons:
        warnings.append(
            f"{len(reasons)} episodes were given up and count as failures. The first reason: {min(reasons)}"
        )
    return warnings


def pretrained_on(records: Sequence[CellRecord]) -> dict[tuple[str, ...], list[str]]:
    """The encoders that were pretrained on pictures of evaluated tasks, by these tasks."""
    found: dict[str, set[str]] = {}
    for record in records:
        tasks = record.provenance.encoder.get("pretraining_tasks")
        if isinstance(tasks, list) and record.cell.task in tasks:
            found.setdefault(record.cell.encoder, set()).add(record.cell.task)
    alike: dict[tuple[str, ...], list[str]] = {}
    for encoder in sorted(found):
        alike.setdefault(tuple(sorted(found[encoder])), []).append(encoder)
    return alike


def limits(cube: Cube, num_pairs: int, pools: Collection[int]) -> list[str]:
    """What the size of the run does not allow to conclude, in words."""
    num_tasks, num_seeds = len(cube.tasks), len(cube.seeds)
    if num_seeds == 1:
        return [ONE_SEED]
    warnings: list[str] = []
    if num_pairs > 1 and num_tasks * (num_seeds - 1) < ENOUGH_FREEDOM:
        tasks = f"{num_tasks} task{'s' * (num_tasks > 1)}"
        warnings.append(FEW_RUNS.format(tasks=tasks, seeds=num_seeds, worst=WORST_OF_FEW_RUNS))
    pool = max(pools)
    for number in cube.num_demos:
        if number == pool:
            warnings.append(SAME_DEMOS.format(number=number))
        elif 2 * number > pool:
            warnings.append(SHARED_DEMOS.format(number=number, share=number / pool, pool=pool))
    return warnings
