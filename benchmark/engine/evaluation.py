"""Evaluates the trained heads of one group and writes each cell's record when its last episode is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import torch

from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.provenance import processor, provenance
from pvrbench.benchmark.engine.rollout import Evaluation, EvaluationRule, Outcome, Policy, evaluate
from pvrbench.benchmark.engine.simulator import SimulatorPool
from pvrbench.benchmark.engine.workplace import Workplace
from pvrbench.benchmark.plan import CellGroup, Plan
from pvrbench.benchmark.records.schema import Cell, CellRecord, CheckpointScore, Cost, Digests, Episode
from pvrbench.encoders.cost import flops_per_frame, measure, num_params
from pvrbench.envs.base import InitialStates
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.policies.base import TrainedHead

# Initial states of which every encoder's episode is filmed, so that they can be seen side by side.
NUM_FILMED = 2

# Networks of this size gain more from several threads than the simulators lose.
LARGE_ENCODER_PARAMS = 1_000_000


def evaluate_group(
    plan: Plan,
    work: Workplace,
    group: CellGroup,
    pool: Callable[[], SimulatorPool],
    states: InitialStates,
    recorder: Recorder,
) -> None:
    """Rolls out every trained head of a group on every initial state, and records cell by cell.

    Args:
        plan: the plan.
        work: what the run shares.
        group: the cells that are to be recorded.
        pool: gives running environments of the group's task and view.
        states: the initial states, in order.
        recorder: takes the finished episodes of each cell.
    """
    config = work.config
    sound = [cell for cell in group.cells if recorder.trained[cell].failure is None]
    for cell in group.cells:
        if cell not in sound:
            recorder.record(cell, (), f"training failed: {recorder.trained[cell].failure}")
    if not sound:
        return
    # Each head after its last update, then its checkpoints: those serve the legacy maximum alone.
    entries = [(cell, update, head) for cell in sound for update, head in _stages(recorder.trained[cell])]
    policies = [Policy(plan.readouts[cell.readout], head, cell.seed) for cell, _, head in entries]
    rule = EvaluationRule(group.horizon, config.success_rule == "last_step", config.history, config.fusion)
    jobs = [(policy, index, seed) for policy in range(len(entries)) for index, seed in enumerate(states.seeds)]
    finished: dict[Cell, dict[int, list[Episode]]] = {}

    def take(outcome: Outcome) -> None:
        work.listener.advance(1)
        cell, update, _ = entries[outcome.policy]
        by_update = finished.setdefault(cell, {})
        by_update.setdefault(update, []).append(outcome.episode)
        if outcome.frames and work.videos is not None:
            work.videos.write(cell, outcome.episode, outcome.frames, group.task.control_hz)
        num_stages = len(recorder.trained[cell].checkpoints) + 1
        if sum(map(len, by_update.values())) == num_stages * len(states.seeds):
            last = sorted(by_update[max(by_update)], key=lambda episode: episode.index)
            recorder.record(cell, last, None, _scores(by_update) if num_stages > 1 else ())

    largest = max(config.num_demos), config.seeds[0]
    first_states = (job for job in jobs if job[1] < NUM_FILMED)
    filmed = frozenset(
        job
        for job in first_states
        for cell, update, _ in [entries[job[0]]]
        if (cell.num_demos, cell.seed) == largest and update == _last_update(recorder.trained[cell])
    )
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: evaluating", len(jobs))
    evaluation = Evaluation(policies, jobs, rule, filmed if work.videos is not None else frozenset())
    with one_thread() if group.encoder.num_params < LARGE_ENCODER_PARAMS else nullcontext():
        evaluate(pool(), recorder.encoder, evaluation, take)


def _stages(head: TrainedHead) -> list[tuple[int, TrainedHead]]:
    """A head after its last update and at its checkpoints, by the number of updates."""
    return [(_last_update(head), head), *head.checkpoints.items()]


def _last_update(head: TrainedHead) -> int:
    return int(cast("int", head.train_log["num_updates"]))


def _scores(by_update: Mapping[int, Sequence[Episode]]) -> tuple[CheckpointScore, ...]:
    return tuple(
        CheckpointScore(
            num_updates=update,
            num_successes=sum(episode.success for episode in episodes),
            num_episodes=len(episodes),
        )
        for update, episodes in sorted(by_update.items())
    )


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What an encoder costs.

    Attributes:
        num_params: of the frozen network.
        flops_per_frame: None where it reads no image.
        timing: time and memory; no two measurements agree, so they stand with the timings of a record.
    """

    num_params: int
    flops_per_frame: int | None
    timing: Mapping[str, float]


def encoder_facts(encoder: TileEncoder) -> EncoderFacts:
    """Measures an encoder; nothing else may use it meanwhile, and nothing should use the processor."""
    with encoder.in_precision():
        cost = measure(encoder.encoder, encoder.tile)
    timing = (
        {}
        if cost is None
        else {
            "encoder_ms_alone": cost.ms_alone,
            "encoder_ms_in_tile": cost.ms_in_tile,
            "encoder_peak_mib": cost.peak_bytes / 2**20,
        }
    )
    return EncoderFacts(num_params(encoder.encoder), flops_per_frame(encoder.encoder), timing)


@dataclass(slots=True)
class Recorder:
    """Writes the record of each cell of a group as soon as its last episode is over.

    Attributes:
        num_written: records written so far.
        given_up: by cell, why none of its episodes came to an end.
    """

    work: Workplace
    group: CellGroup
    encoder: TileEncoder
    facts: EncoderFacts
    digests: Digests
    trained: Mapping[Cell, TrainedHead]
    timing: Mapping[str, float]
    num_written: int = 0
    given_up: dict[str, str] = field(default_factory=dict[str, str])
    started: float = field(default_factory=time.monotonic)

    def record(
        self,
        cell: Cell,
        episodes: Sequence[Episode],
        failure: str | None,
        checkpoints: tuple[CheckpointScore, ...] = (),
    ) -> None:
        """Writes the record of one cell."""
        head = self.trained[cell]
        spec, work = self.group.encoder, self.work
        device = processor() if work.device == "cpu" else torch.cuda.get_device_name(work.device)
        gl = gl_renderer() if self.group.view is not None else ""
        params = dict(head.num_params)
        record = CellRecord(
            cell=cell,
            settings=self.group.settings[cell.head],
            digests=self.digests,
            provenance=provenance(device, gl, work.config.engine, spec),
            cost=Cost(
                encoder_params=self.facts.num_params,
                readout_params=params.get("front", 0),
                head_params=params.get("head", 0),
                flops_per_frame=self.facts.flops_per_frame,
                feature_dim=int(cast("int", head.train_log.get("feature_dim", 0))),
            ),
            train_log=cast("Mapping[str, float]", dict(head.train_log)),
            failure=failure,
            episodes=tuple(episodes),
            checkpoints=checkpoints,
            timing={**self.timing, **self.facts.timing, "since_evaluation_began_s": time.monotonic() - self.started},
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        work.store.write(record)
        self.num_written += 1
        reasons = [episode.failure for episode in episodes if episode.failure is not None]
        if reasons and len(reasons) == len(episodes):
            self.given_up[cell.slug] = f"each of its episodes was given up, the first because {reasons[0]}"
        work.listener.finished(1)
