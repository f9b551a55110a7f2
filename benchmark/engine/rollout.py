"""Lock-step evaluation of many policies that share one encoder: one encoder call for a tile of frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pvrbench.benchmark.engine.features import FrameFeatures, TileEncoder
from pvrbench.benchmark.engine.instructed import Told
from pvrbench.benchmark.engine.lanes import EncoderLanes
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.simulator import Reply, SimulatorPool
from pvrbench.benchmark.records.schema import Episode
from pvrbench.encoders.readouts.base import Readout
from pvrbench.encoders.readouts.fusion import fuse
from pvrbench.envs.base import Array
from pvrbench.policies.base import Observation, Policy
from pvrbench.policies.together import act_together


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
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
    handled: tuple[str, ...] = ()


class _Row(NamedTuple):
    """A row of an encoded tile, for which an action is to be chosen."""

    run: _Run
    reply: Reply
    tile: int
    position: int


_CONTENDER: Callable[[_Row], int] = attrgetter("run.job.contender")


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
        told: the instruction; None where policies are told nothing.
    """

    contenders: Sequence[EvaluatedPolicy]
    jobs: Sequence[EpisodeJob]
    rule: EvaluationRule
    filmed: frozenset[EpisodeJob] = frozenset()
    told: Told | None = None


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
        self.told = evaluation.told
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
            if not self.lanes.encoder.is_free and (done := self.lanes.done()):
                self._act([([self.encoding.pop(slot) for slot in slots], features) for slots, features in done])

    def _hand_in(self) -> None:
        """Full tiles are encoded while the other environments simulate; one that cannot fill is not waited for.

        An encoder that costs nothing is called here: handing a tile to a thread would take longer than encoding it.
        """
        encoder = self.lanes.encoder
        while tiles := self._full_tiles(encoder.tile):
            inputs = [_inputs(self.pool, encoder, replies) for replies in tiles]
            if encoder.is_free:
                self._act([(replies, encoder.encode_tile(own)) for replies, own in zip(tiles, inputs, strict=True)])
                continue
            for replies, own in zip(tiles, inputs, strict=True):
                self.encoding.update((reply.slot, reply) for reply in replies)
                self.lanes.submit([reply.slot for reply in replies], own)

    def _full_tiles(self, size: int) -> list[list[Reply]]:
        """Takes tiles off those that are ready."""
        tiles: list[list[Reply]] = []
        while self.ready and len(self.ready) >= min(size, len(self.running)):
            tiles.append([self.ready.pop(slot) for slot in list(self.ready)[:size]])
        return tiles

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

    def _act(self, tiles: Sequence[tuple[Sequence[Reply], FrameFeatures]]) -> None:
        """Chooses actions for all tiles that are encoded, together: then policies are called less often."""
        rows: list[_Row] = []
        for tile, (replies, features) in enumerate(tiles):
            for position, fault in features.faults.items():
                # There is nothing to act on, for this episode alone.
                self._finish(replies[position].slot, fault)
            rows += [
                _Row(self.running[reply.slot], reply, tile, position)
                for position, reply in enumerate(replies)
                if position not in features.faults
            ]
        is_last_step = self.rule.last_step
        encoded = [features for _, features in tiles]
        for row, actions in _actions(self.contenders, rows, encoded, self.rule, self.told):
            left = self.rule.horizon - row.run.num_steps
            within = actions if len(actions) <= left else actions[:left]
            self.pool.step(row.reply.slot, within, until_success=not is_last_step)


def _observe(run: _Run, reply: Reply, frames: UInt8[Array, "slots H W 3"], rule: EvaluationRule) -> bool:
    """Takes note of an answer; True where the episode is over."""
    run.num_steps += reply.num_steps
    run.handled = reply.handled
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
        handled=run.handled,
    )
    return Outcome(run.job.contender, episode, run.frames)


def _actions(
    contenders: Sequence[EvaluatedPolicy],
    rows: Sequence[_Row],
    tiles: Sequence[FrameFeatures],
    rule: EvaluationRule,
    told: Told | None,
) -> Iterator[tuple[_Row, Array]]:
    """Chunks of actions `K A` for rows of some tiles; rows of one readout go through their policies together."""
    by_readout: dict[str, list[_Row]] = {}
    # Sorted by policy, so that policies need not sort them.
    for contender, own in groupby(sorted(rows, key=_CONTENDER), _CONTENDER):
        by_readout.setdefault(contenders[contender].readout.spec.name, []).extend(own)
    for members in by_readout.values():
        runs = [row.run for row in members]
        indices = [*map(_CONTENDER, members)]
        used = list(dict.fromkeys(indices))
        position = {contender: index for index, contender in enumerate(used)}
        vectors = _vectors(contenders[used[0]].readout, members, tiles)
        features, instruction = (
            vectors if rule.fusion == "none" else _fused(vectors, runs, rule.fusion, rule.history),
            None,
        )
        if told is not None:
            features, instruction = told.beside(features, told.now.to(vectors.device).expand(len(features), -1))
        observation = Observation(
            features=features,
            proprio=torch.from_numpy(np.array([row.reply.proprio for row in members])).to(vectors.device),
            instruction=instruction,
        )
        found = act_together(
            [contenders[contender].policy for contender in used],
            [position[contender] for contender in indices],
            observation,
            [run.state for run in runs],
        )
        yield from zip(members, found, strict=True)


def _vectors(readout: Readout, rows: Sequence[_Row], tiles: Sequence[FrameFeatures]) -> Tensor:
    """What the frozen stage reads for some rows; it reads whole tiles, so that the shape is always the same."""
    used = list(dict.fromkeys(row.tile for row in rows))
    read = [readout.read(tiles[tile].of(readout.spec)) for tile in used]
    start = {tile: index * len(read[0]) for index, tile in enumerate(used)}
    joined = read[0] if len(read) == 1 else torch.cat(read)
    return joined[torch.from_numpy(np.array([start[row.tile] + row.position for row in rows]))]


def _inputs(pool: SimulatorPool, encoder: TileEncoder, replies: Sequence[Reply]) -> Array:
    match encoder.modality:
        case "image":
            return pool.frames[[reply.slot for reply in replies]]
        case "state":
            return np.array([reply.state for reply in replies])
        case "nothing" | "expert":
            return np.zeros((len(replies), 0), np.float32)


def _fused(
    vectors: Tensor, runs: Sequence[_Run], mode: Literal["concat", "flare"], num_frames: int
) -> Float[Tensor, "B ..."]:
    """The policies' input where it is made of the readouts of each episode's last frames."""
    fused: list[Tensor] = []
    for run, vector in zip(runs, vectors.unbind(), strict=True):
        if not run.history:
            run.history = deque([vector] * num_frames, maxlen=num_frames)
        else:
            run.history.append(vector)
        fused.append(fuse(torch.stack(list(run.history))[None], mode)[0])
    return torch.stack(fused)
