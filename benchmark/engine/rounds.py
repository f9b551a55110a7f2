"""Runs the jobs of a plan round by round, where one schedule decides on all of its cells together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from pvrbench.benchmark.catalog import schedules
from pvrbench.benchmark.engine.context import RunContext
from pvrbench.benchmark.engine.evaluation import given_up
from pvrbench.benchmark.engine.result import JobResult
from pvrbench.benchmark.engine.schedules.base import Round, RunSchedule
from pvrbench.benchmark.plan import Job, Plan
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.parts import joined
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordError
from pvrbench.common.reference import resolve


def run_rounds(
    plan: Plan, jobs: Sequence[Job], context: RunContext, do: Callable[[Sequence[Job]], JobResult]
) -> JobResult:
    """Asks for rounds and does them until there are no more; a round in which a job failed is the last of this run.

    The other contenders are not to be decided without the one that failed: the same command goes on from there.

    Args:
        plan: the whole run.
        jobs: its jobs with the cells that are not recorded.
        context: what the run shares.
        do: does the jobs of a round.

    Raises:
        RecordError: the run was decided among other cells than those of the plan, or workers leave nothing in its
            folder.
    """
    name, num_planned = plan.config.episode_schedule, plan.config.num_episodes
    make = cast("Callable[[int], RunSchedule]", resolve(schedules()[name].entry_point))
    schedule, done = make(num_planned), JobResult()
    records, parts = _read(plan, context)
    check_family(plan, records, parts, context.records.run_dir)
    while True:
        outcomes = {
            cell: records[cell].episodes
            if cell in records
            else tuple(episode for part in parts.get(cell, ()) for episode in part.episodes)
            for cell in plan.cells
            if cell not in records or records[cell].failure is None
        }
        found = schedule.next(outcomes, set(records))
        if not isinstance(found, Round):
            context.parts.clear()
            return done
        for cell, reason in found.last.items():
            record = joined(parts[cell], reason)
            context.records.write(record)
            context.listener.finished(1)
            done += JobResult(num_recorded=1, failed=given_up(record))
        wanted = [job.round(found.episodes) for job in jobs if any(cell in found.episodes for cell in job.cells)]
        if wanted:
            most = max(len(outcomes[cell]) + len(indices) for cell, indices in found.episodes.items())
            context.listener.say(f"{len(found.episodes)} cells go on, up to {most} of {num_planned} episodes each.")
            result = do(wanted)
            done += result
            if result.errors:
                return done
        records, parts = _read(plan, context)
        short = [cell for cell in found.episodes if cell not in records and cell not in parts]
        if short:
            raise RecordError(
                f"The round ended without an error, and without episodes of {short[0].slug} in "
                f"{context.records.run_dir}. Check that every worker sees this folder."
            )


def _read(plan: Plan, context: RunContext) -> tuple[dict[Cell, CellRecord], dict[Cell, list[CellRecord]]]:
    """The records and the parts of the plan's cells."""
    planned = set(plan.cells)
    records = {record.cell: record for record in context.records.read()[0] if record.cell in planned}
    return records, {cell: parts for cell, parts in context.parts.read().items() if cell in planned}


def check_family(
    plan: Plan, recorded: Mapping[Cell, CellRecord], parts: Mapping[Cell, Sequence[CellRecord]], run_dir: Path
) -> None:
    """Contenders that ended early were decided among those that were there: none can join them later.

    Raises:
        RecordError: one would.
    """
    new = [cell for cell in plan.cells if cell not in recorded and cell not in parts]
    if new and any(record.stopped for record in recorded.values()):
        raise RecordError(
            f"{run_dir} was decided without {new[0].slug}, and contenders that ended early cannot be compared with it "
            "on equal terms. Give this run a name of its own with name=..."
        )
