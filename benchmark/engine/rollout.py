"""Lock-step evaluation of many policies that share one encoder: one encoder call for a tile of frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from pvrbench.benchmark.engine.features import FrameFeatures, TileEncoder
from pvrbench.benchmark.engine.lanes import EncoderLanes
from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.benchmark.engine.simulator import Reply, SimulatorPool
from pvrbench.benchmark.records.schema import Episode
from pvrbench.encoders.readouts.catalog import ReadoutSpec
from pvrbench.encoders.readouts.fusion import fuse
from pvrbench.encoders.readouts.reading import read
from pvrbench.envs.base import Array
from pvrbench.policies.base import TrainedHead
from pvrbench.policies.training.cloned_head import act_together


@dataclass(frozen=True, slots=True)
class Policy:
    """A trained head and the readout it reads; the encoder is shared.

    Attributes:
        readout: the frozen stage between features and head.
        head: the trained head, its trainable readout included.
        seed: seeds the noise of stochastic heads.
    """

    readout: ReadoutSpec
    head: TrainedHead
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


@dataclass(slots=True)
class _Run:
    """One episode in a slot."""

    policy: int
    index: int
    seed: int
    noise: np.random.Generator
    second_attempt: bool = False
    num_steps: int = 0
    succeeded_at: int | None = None
    history: deque[Tensor] = field(default_factory=deque[Tensor])
    frames: list[UInt8[Array, "H W 3"]] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished episode of one policy, with its frames where they were asked for."""

    policy: int
    episode: Episode
    frames: list[UInt8[Array, "H W 3"]] | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is to be evaluated.

    Attributes:
        policies: the policies.
        jobs: `(index of the policy, index of the initial state, reset seed)` of every episode.
        rule: how episodes run.
        filmed: jobs whose frames are kept.
    """

    policies: Sequence[Policy]
    jobs: Sequence[tuple[int, int, int]]
    rule: EvaluationRule
    filmed: frozenset[tuple[int, int, int]] = frozenset()


def evaluate(
    pool: SimulatorPool, encoder: TileEncoder, evaluation: Evaluation, on_outcome: Callable[[Outcome], None]
) -> None:
    """Runs every episode of every policy, slots taking the next episode as soon as they are free.

    An episode's outcome depends on its policy, its initial state and nothing else: encoder calls have one
    shape, heads treat rows apart, and noise is drawn from the episode's own generator. An episode in which its process
    ends is tried once more; its companions in that process begin anew as often as it takes.

    Args:
        pool: the environments.
        encoder: the shared encoder; it uses as many threads as torch is set to.
        evaluation: policies, episodes and rule.
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
        self.policies, self.rule, self.filmed = evaluation.policies, evaluation.rule, evaluation.filmed
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

    def _start(self, slot: int, job: tuple[int, int, int], *, second_attempt: bool = False) -> None:
        policy, index, seed = job
        noise = np.random.default_rng([self.policies[policy].seed, seed])
        frames: list[UInt8[Array, "H W 3"]] | None = [] if job in self.filmed else None
        self.running[slot] = _Run(policy, index, seed, noise, second_attempt, frames=frames)
        self.pool.reset(slot, seed)

    def _take(self, reply: Reply) -> None:
        run = self.running[reply.slot]
        if reply.lost and not (reply.is_cause and run.second_attempt):
            again = run.second_attempt or reply.is_cause
            self._start(reply.slot, (run.policy, run.index, run.seed), second_attempt=again)
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
        for row, action in _actions(self.policies, rows, features, self.rule).items():
            run, reply = rows[row]
            run.num_steps += 1
            self.pool.step(reply.slot, action)


def _observe(run: _Run, reply: Reply, frames: UInt8[Array, "slots H W 3"], rule: EvaluationRule) -> bool:
    """Takes note of an answer; True where the episode is over."""
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
        index=run.index,
        seed=run.seed,
        success=success,
        num_steps=min(run.num_steps, rule.horizon),
        failure=failure,
    )
    return Outcome(run.policy, episode, run.frames)


def _actions(
    policies: Sequence[Policy],
    rows: Mapping[int, tuple[_Run, Reply]],
    features: FrameFeatures,
    rule: EvaluationRule,
) -> dict[int, Float32[Array, " A"]]:
    """Actions for rows of one tile; rows of one readout go through their heads together."""
    by_readout: dict[str, list[int]] = {}
    for row, (run, _) in rows.items():
        by_readout.setdefault(policies[run.policy].readout.name, []).append(row)
    actions: dict[int, Float32[Array, " A"]] = {}
    for members in by_readout.values():
        readout = policies[rows[members[0]][0].policy].readout
        vectors = read(readout, features.of(readout))
        chosen = [rows[row] for row in members]
        inputs = [_remember(run, vectors[row], rule) for row, (run, _) in zip(members, chosen, strict=True)]
        actions.update(zip(members, _heads(policies, chosen, torch.stack(inputs)), strict=True))
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
    """The head's input: this frame's readout, or that of the last frames fused."""
    if rule.fusion == "none":
        return vector
    if not run.history:
        run.history = deque([vector] * rule.history, maxlen=rule.history)
    else:
        run.history.append(vector)
    return fuse(torch.stack(list(run.history))[None], rule.fusion)[0]


def _heads(
    policies: Sequence[Policy], rows: Sequence[tuple[_Run, Reply]], inputs: Float[Tensor, "B ..."]
) -> list[Float32[Array, " A"]]:
    used = sorted({run.policy for run, _ in rows})
    heads = [policies[policy].head for policy in used]
    noise = np.zeros((len(rows), max(head.noise_dim for head in heads)), np.float32)
    for row, (run, _) in enumerate(rows):
        # Each head draws what it needs and no more, so that its companions do not shift its stream.
        own_dim = policies[run.policy].head.noise_dim
        noise[row, :own_dim] = run.noise.random(own_dim, dtype=np.float32)
    actions = act_together(
        heads,
        torch.tensor([used.index(run.policy) for run, _ in rows]),
        inputs,
        torch.from_numpy(np.stack([reply.proprio for _, reply in rows])).to(inputs.device),
        torch.from_numpy(noise).to(inputs.device),
    )
    return [row.numpy() for row in actions.cpu()]
