"""Evaluates the policies of one job, and writes each cell's record when its last episode is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import torch
from pydantic import JsonValue

from pvrbench.benchmark.catalog import schedules
from pvrbench.benchmark.engine.adapted import adapted_params, readouts_of
from pvrbench.benchmark.engine.context import RunContext
from pvrbench.benchmark.engine.encoder_pool import EncoderFacts
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.instructed import told_of
from pvrbench.benchmark.engine.look_pictures import picture_path, write_picture
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.provenance import processor, provenance
from pvrbench.benchmark.engine.rollout import EpisodeJob, EvaluatedPolicy, Evaluation, EvaluationRule, Outcome, evaluate
from pvrbench.benchmark.engine.schedules.base import Round, Schedule, Stop
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.parts import UNFINISHED
from pvrbench.benchmark.records.schema import CellRecord, CheckpointScore, Cost, Digests, Episode
from pvrbench.common.reference import resolve
from pvrbench.envs.base import InitialStates
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.policies.base import Policy

# Initial states of which every encoder's episode is filmed, so that they can be seen side by side.
NUM_FILMED = 2

# Networks of this size gain more from several threads than the simulators lose.
LARGE_ENCODER_PARAMS = 1_000_000


def evaluate_cells(job: Job, context: RunContext, states: InitialStates, recorder: Recorder) -> None:
    """Rolls out every policy of a job, round by round as the schedule says, and records cell by cell.

    Args:
        job: the cells that are to be recorded.
        context: what the run shares.
        states: the initial states, in order.
        recorder: takes the finished episodes of each cell.
    """
    policies = recorder.policies
    for cell in job.cells:
        failure = policies[cell].failure
        if failure is not None:
            recorder.record(cell, (), f"training failed: {failure}")
    outcomes: dict[Cell, list[Episode]] = {cell: [] for cell in job.cells if policies[cell].failure is None}
    by_update: dict[Cell, dict[int, list[Episode]]] = {}
    schedule = (
        make_schedule(job.config.episode_schedule, len(states.seeds))
        if job.episodes is None
        else _OneRound(job.episodes, len(states.seeds))
    )
    while isinstance(found := schedule.next(outcomes), Round):
        _run_round(job, context, states, recorder, found, outcomes, by_update)
    for cell, episodes in outcomes.items():
        if cell not in recorder.written:
            scores = _scores(by_update.get(cell, {})) if policies[cell].checkpoints else ()
            reason = found.reason if len(episodes) < len(states.seeds) else ""
            recorder.record(cell, sorted(episodes, key=_index), None, scores, reason)


def _run_round(  # noqa: PLR0913, PLR0917 - what is evaluated, where, and what takes the outcomes
    job: Job,
    context: RunContext,
    states: InitialStates,
    recorder: Recorder,
    wanted: Round,
    outcomes: Mapping[Cell, list[Episode]],
    by_update: dict[Cell, dict[int, list[Episode]]],
) -> None:
    """Runs a round; adds each episode to those of its cell, and to those of its policy or checkpoint."""
    policies = recorder.policies
    # Each policy after its last update, then its checkpoints: those serve the legacy maximum alone.
    entries = [(cell, update, policy) for cell in wanted.episodes for update, policy in _stages(policies[cell])]
    readouts = readouts_of(job, context)
    contenders = [EvaluatedPolicy(readouts[cell.readout], policy, cell.seed) for cell, _, policy in entries]
    rule = EvaluationRule(job.horizon, job.config.success_rule == "last_step", job.config.history, job.config.fusion)
    jobs = [
        EpisodeJob(contender, index, states.seeds[index])
        for contender, (cell, _, _) in enumerate(entries)
        for index in wanted.episodes[cell]
    ]
    left = {cell: len(indices) * len(_stages(policies[cell])) for cell, indices in wanted.episodes.items()}

    def take(outcome: Outcome) -> None:
        context.listener.advance(1)
        cell, update, policy = entries[outcome.contender]
        if update == _last_update(policies[cell]):
            outcomes[cell].append(outcome.episode)
        by_update.setdefault(cell, {}).setdefault(update, []).append(outcome.episode)
        which = outcome.contender, outcome.episode.index
        if outcome.frames and which == pictured:
            write_picture(context.pictures, cell.evaluation, outcome.frames[0])
        if outcome.frames and which in filmed and context.videos is not None:
            context.videos.write(cell, outcome.episode, outcome.frames, job.task.control_hz / policy.chunk)
        left[cell] -= 1
        if left[cell] == 0 and cell in wanted.last:
            scores = _scores(by_update[cell]) if policies[cell].checkpoints else ()
            recorder.record(cell, sorted(outcomes[cell], key=_index), None, scores, wanted.last[cell])

    # One episode shows the look to readers, whoever acts.
    pictured = (jobs[0].contender, jobs[0].index) if jobs and _lacks_picture(job, context) else None
    largest = max(job.config.num_demos), job.config.seeds[0]
    filmed = frozenset(
        (episode.contender, episode.index)
        for episode in jobs
        if episode.index < NUM_FILMED
        for cell, update, _ in [entries[episode.contender]]
        if (cell.num_demos, cell.seed) == largest and update == _last_update(policies[cell])
    )
    context.listener.stage(f"{job.task.name}: {job.encoder.name}: evaluating", len(jobs))
    shown = {pictured, *(filmed if context.videos is not None else ())}
    kept = frozenset(episode for episode in jobs if (episode.contender, episode.index) in shown)
    evaluation = Evaluation(contenders, jobs, rule, kept, told_of(job))
    with one_thread() if job.encoder.num_params < LARGE_ENCODER_PARAMS else nullcontext():
        evaluate(context.simulators.of(job.task, job.view), recorder.encoder, evaluation, take)


@dataclass(frozen=True, slots=True)
class _OneRound:
    """What the schedule of the whole run asks of a job now; a cell that has all its episodes at once is finished."""

    episodes: Mapping[Cell, Sequence[int]]
    num_planned: int

    def next(self, outcomes: Mapping[Cell, Sequence[Episode]]) -> Round | Stop:
        wanted = {cell: self.episodes[cell] for cell, episodes in outcomes.items() if not episodes}
        last = {cell: "" if len(indices) == self.num_planned else UNFINISHED for cell, indices in wanted.items()}
        return Round(wanted, last) if wanted else Stop()


def _lacks_picture(job: Job, context: RunContext) -> bool:
    """Whether there is no picture yet of what a job shows its encoder."""
    return job.view is not None and not picture_path(context.pictures, job.cells[0].evaluation).exists()


def make_schedule(name: str, num_episodes: int) -> Schedule:
    """A schedule of the catalog for the cells of a job, for a number of planned episodes."""
    make = cast("Callable[[int], Schedule]", resolve(schedules()[name].entry_point))
    return make(num_episodes)


def _index(episode: Episode) -> int:
    return episode.index


def _stages(policy: Policy) -> list[tuple[int, Policy]]:
    """A policy after its last update and at its checkpoints, by the number of updates."""
    return [(_last_update(policy), policy), *policy.checkpoints.items()]


def _last_update(policy: Policy) -> int:
    return int(cast("int", policy.train_log.get("num_updates", 0)))


def _scores(by_update: Mapping[int, Sequence[Episode]]) -> tuple[CheckpointScore, ...]:
    return tuple(
        CheckpointScore(
            num_updates=update,
            num_successes=sum(episode.success for episode in episodes),
            num_episodes=len(episodes),
        )
        for update, episodes in sorted(by_update.items())
    )


@dataclass(slots=True)
class Recorder:
    """Writes the record of each cell of a job as soon as its last episode is over.

    Attributes:
        context: what the run shares.
        job: the cells.
        encoder: the encoder as it is called.
        facts: what it costs.
        digests: the inputs of each cell, its policy among them.
        policies: the trained policies.
        demos: where the demonstrations come from.
        timing: seconds of each cell's own, and those that the job's cells share.
        written: the cells that were recorded.
        num_unfinished: those of which only a part was, since more rounds follow.
        given_up: by cell, why it has no episodes or none of them came to an end.
        started: when the evaluation began.
    """

    context: RunContext
    job: Job
    encoder: TileEncoder
    facts: EncoderFacts
    digests: Mapping[Cell, Digests]
    policies: Mapping[Cell, Policy]
    demos: Mapping[str, JsonValue]
    timing: Mapping[Cell, Mapping[str, float]]
    written: set[Cell] = field(default_factory=set[Cell])
    num_unfinished: int = 0
    given_up: dict[str, str] = field(default_factory=dict[str, str])
    started: float = field(default_factory=time.monotonic)

    def record(
        self,
        cell: Cell,
        episodes: Sequence[Episode],
        failure: str | None,
        checkpoints: tuple[CheckpointScore, ...] = (),
        stopped: str = "",
    ) -> None:
        """Writes the record of one cell."""
        policy, context = self.policies[cell], self.context
        device = context.engine.device
        is_seen = self.job.view is not None
        params = dict(policy.num_params)
        record = CellRecord(
            cell=cell,
            settings=self.job.settings[cell.head],
            digests=self.digests[cell],
            provenance=provenance(
                processor() if device == "cpu" else torch.cuda.get_device_name(device),
                gl_renderer() if is_seen else "",
                context.engine,
                self.job.encoder,
                self.demos,
            ),
            cost=Cost(
                encoder_params=self.facts.num_params,
                adapted_params=(adapted := adapted_params(policy)),
                readout_params=params.get("trained_readout", 0) - adapted,
                head_params=params.get("head", 0),
                flops_per_frame=self.facts.flops_per_frame,
                feature_dim=int(cast("int", policy.train_log.get("feature_dim", 0))),
            ),
            train_log=cast("Mapping[str, JsonValue]", policy.train_log),
            failure=failure,
            episodes=tuple(episodes),
            checkpoints=checkpoints,
            stopped=stopped,
            timing={
                **self.timing.get(cell, {}),
                **self.facts.timing,
                "since_evaluation_began_s": time.monotonic() - self.started,
            },
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.written.add(cell)
        if stopped == UNFINISHED:
            context.parts.write(record)
            self.num_unfinished += 1
            return
        context.records.write(record)
        self.given_up |= given_up(record)
        context.listener.finished(1)


def given_up(record: CellRecord) -> dict[str, str]:
    """By cell, why a record has no episodes or none of them came to an end; empty for any other record."""
    reasons = [episode.failure for episode in record.episodes if episode.failure is not None]
    if record.failure is not None:
        return {record.cell.slug: record.failure}
    if reasons and len(reasons) == len(record.episodes):
        return {record.cell.slug: f"each of its episodes was given up, the first because {reasons[0]}"}
    return {}
