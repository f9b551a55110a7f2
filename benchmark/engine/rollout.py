"""Lock-step evaluation of many policies that share one encoder: one encoder call for a tile of frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from pvrbench.benchmark.engine.features import FrameFeatures, TileEncoder
from pvrbench.benchmark.engine.lanes import EncoderLanes
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.simulator import Reply, SimulatorPool
from pvrbench.benchmark.records.schema import Episode
from pvrbench.encoders.readouts.base import Readout
from pvrbench.encoders.readouts.fusion import fuse
from pvrbench.envs.base import Array
from pvrbench.policies.base import Observation, Policy, act_together


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy that is evaluated; the encoder is shared.

    Attributes:
        readout: its readout, whose frozen stage comes before the policy.
        policy: the policy.
        seed: its training seed, which also seeds its noise.
    """

    readout: Readout
    policy: Policy
    seed: int


@dataclass(frozen=True, slots=True)
class EvaluationRule:
    """How an episode runs and when it counts as a success.

    Attributes:
        horizon: control steps.
        last_step: success counts at the last step only, and the episode runs to its horizon.
        history: frames given to the head.
        fusion: how they are combined.
    """

    horizon: int
    last_step: bool
    history: int
    fusion: Literal["none", "concat", "flare"]


@dataclass(frozen=True, slots=True)
class EpisodeJob:
    """An episode that is to be run.

    Attributes:
        contender: index of the contender.
        index: position of the initial state.
        seed: its reset seed.
    """

    contender: int
    index: int
    seed: int


@dataclass(slots=True)
class _Run:
    """One episode in a slot."""

    job: EpisodeJob
    state: Any
    second_attempt: bool = False
    num_steps: int = 0
    succeeded_at: int | None = None
    history: deque[Tensor] = field(default_factory=deque[Tensor])
    frames: list[UInt8[Array, "H W 3"]] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished episode of one contender, with its frames where they were asked for."""

    contender: int
    episode: Episode
    frames: list[UInt8[Array, "H W 3"]] | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is to be evaluated.

    Attributes:
        contenders: the contenders.
        jobs: every episode.
        rule: how episodes run.
        filmed: jobs whose frames are kept.
    """

    contenders: Sequence[Contender]
    jobs: Sequence[EpisodeJob]
    rule: EvaluationRule
    filmed: frozenset[EpisodeJob] = frozenset()


def evaluate(
    pool: SimulatorPool, encoder: TileEncoder, evaluation: Evaluation, on_outcome: Callable[[Outcome], None]
) -> None:
    """Runs every episode of every contender, slots taking the next episode as soon as they are free.

    An episode's outcome depends on its policy, its initial state and nothing else: encoder calls have one
    shape, policies treat rows apart, and noise comes from the episode's own state. An episode in which its process
    ends is tried once more; its companions in that process begin anew as often as it takes.

    Args:
        pool: the environments.
        encoder: the shared encoder; it uses as many threads as torch is set to.
        evaluation: contenders, episodes and rule.
        on_outcome: called with each finished episode.
    """
    num_threads = torch.get_num_threads()
    with one_thread(), EncoderLanes(encoder, pool.num_slots // encoder.tile, num_threads) as lanes:
        try:
            _LockStep(pool, lanes, evaluation, on_outcome).run()
        except Exception:
            pool.abandon()
            raise


class _LockStep:
    """The state of one evaluation: episodes waiting, running in slots, and ready for their next action."""

    def __init__(
        self, pool: SimulatorPool, lanes: EncoderLanes, evaluation: Evaluation, on_outcome: Callable[[Outcome], None]
    ) -> None:
        self.pool, self.lanes, self.on_outcome = pool, lanes, on_outcome
        self.contenders, self.rule, self.filmed = evaluation.contenders, evaluation.rule, evaluation.filmed
        self.waiting = deque(evaluation.jobs)
        self.running: dict[int, _Run] = {}
        self.ready: dict[int, Reply] = {}
        self.encoding: dict[int, Reply] = {}

    def run(self) -> None:
        for slot in range(min(self.pool.num_slots, len(self.waiting))):
            self._start(slot, self.waiting.popleft())
        while self.running:
            self._hand_in()
            for reply in self.pool.receive(self.lanes.signal):
                self._take(reply)
            for slots, features in self.lanes.done():
                self._act([self.encoding.pop(slot) for slot in slots], features)

    def _hand_in(self) -> None:
        """Full tiles are encoded while the other environments simulate; one that cannot fill is not waited for."""
        encoder = self.lanes.encoder
        while self.ready and len(self.ready) >= min(encoder.tile, len(self.running)):
            slots = list(self.ready)[: encoder.tile]
            replies = [self.ready.pop(slot) for slot in slots]
            self.encoding.update(zip(slots, replies, strict=True))
            self.lanes.submit(slots, _inputs(self.pool, encoder, replies))

    def _start(self, slot: int, job: EpisodeJob, *, second_attempt: bool = False) -> None:
        contender = self.contenders[job.contender]
        frames: list[UInt8[Array, "H W 3"]] | None = [] if job in self.filmed else None
        state = contender.policy.start([contender.seed, job.seed])
        self.running[slot] = _Run(job, state, second_attempt, frames=frames)
        self.pool.reset(slot, job.seed)

    def _take(self, reply: Reply) -> None:
        run = self.running[reply.slot]
        if reply.lost and not (reply.is_cause and run.second_attempt):
            again = run.second_attempt or reply.is_cause
            self._start(reply.slot, run.job, second_attempt=again)
        elif reply.failure is not None:
            self._finish(reply.slot, reply.failure)
        elif _observe(run, reply, self.pool.frames, self.rule):
            self._finish(reply.slot, None)
        else:
            self.ready[reply.slot] = reply

    def _finish(self, slot: int, failure: str | None) -> None:
        self.on_outcome(_outcome(self.running.pop(slot), self.rule, failure))
        if self.waiting:
            self._start(slot, self.waiting.popleft())

    def _act(self, replies: Sequence[Reply], features: FrameFeatures) -> None:
        rows = {row: (self.running[reply.slot], reply) for row, reply in enumerate(replies)}
        for row, fault in features.faults.items():
            # There is nothing to act on, for this episode alone.
            self._finish(rows.pop(row)[1].slot, fault)
        for row, actions in _actions(self.contenders, rows, features, self.rule).items():
            run, reply = rows[row]
            left = self.rule.horizon - run.num_steps
            self.pool.step(reply.slot, actions[:left], until_success=not self.rule.last_step)


def _observe(run: _Run, reply: Reply, frames: UInt8[Array, "slots H W 3"], rule: EvaluationRule) -> bool:
    """Takes note of an answer; True where the episode is over."""
    run.num_steps += reply.num_steps
    if run.frames is not None and frames.size:
        run.frames.append(frames[reply.slot].copy())
    if rule.last_step:
        run.succeeded_at = run.num_steps if reply.success else None
        return run.num_steps >= rule.horizon
    if reply.success and run.num_steps > 0:
        run.succeeded_at = run.num_steps
    return run.succeeded_at is not None or run.num_steps >= rule.horizon


def _outcome(run: _Run, rule: EvaluationRule, failure: str | None) -> Outcome:
    success = failure is None and run.succeeded_at is not None
    episode = Episode(
        index=run.job.index,
        seed=run.job.seed,
        success=success,
        num_steps=min(run.num_steps, rule.horizon),
        failure=failure,
    )
    return Outcome(run.job.contender, episode, run.frames)


def _actions(
    contenders: Sequence[Contender],
    rows: Mapping[int, tuple[_Run, Reply]],
    features: FrameFeatures,
    rule: EvaluationRule,
) -> dict[int, Array]:
    """Chunks of actions `K A` for rows of one tile; rows of one readout go through their policies together."""
    by_readout: dict[str, list[int]] = {}
    for row, (run, _) in rows.items():
        by_readout.setdefault(contenders[run.job.contender].readout.spec.name, []).append(row)
    actions: dict[int, Array] = {}
    for members in by_readout.values():
        readout = contenders[rows[members[0]][0].job.contender].readout
        vectors = readout.read(features.of(readout.spec))
        chosen = [rows[row] for row in members]
        inputs = [_remember(run, vectors[row], rule) for row, (run, _) in zip(members, chosen, strict=True)]
        used = sorted({run.job.contender for run, _ in chosen})
        position = {contender: index for index, contender in enumerate(used)}
        observation = Observation(
            features=torch.stack(inputs),
            proprio=torch.from_numpy(np.stack([reply.proprio for _, reply in chosen])).to(vectors.device),
        )
        found = act_together(
            [contenders[contender].policy for contender in used],
            [position[run.job.contender] for run, _ in chosen],
            observation,
            [run.state for run, _ in chosen],
        )
        actions.update(zip(members, found, strict=True))
    return actions


def _inputs(pool: SimulatorPool, encoder: TileEncoder, replies: Sequence[Reply]) -> Array:
    match encoder.modality:
        case "image":
            return pool.frames[[reply.slot for reply in replies]]
        case "state":
            return np.stack([reply.state for reply in replies])
        case "nothing" | "expert":
            return np.zeros((len(replies), 0), np.float32)


def _remember(run: _Run, vector: Tensor, rule: EvaluationRule) -> Tensor:
    """The policy's input: this frame's readout, or that of the last frames fused."""
    if rule.fusion == "none":
        return vector
    if not run.history:
        run.history = deque([vector] * rule.history, maxlen=rule.history)
    else:
        run.history.append(vector)
    return fuse(torch.stack(list(run.history))[None], rule.fusion)[0]
