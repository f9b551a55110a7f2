"""Demonstrations -> features -> trained policies, for the cells of one job."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from pvrbench.benchmark.engine.adapted import most_processes, readouts_of, shift_of, tuning_of
from pvrbench.benchmark.engine.context import RunContext
from pvrbench.benchmark.engine.features import FrameFeatures, NonFiniteError, TileEncoder, demo_features
from pvrbench.benchmark.engine.instructed import told_of
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.keys import Cell
from pvrbench.encoders.readouts.base import Readout
from pvrbench.encoders.readouts.fusion import fuse, history_indices
from pvrbench.envs.base import Array
from pvrbench.envs.demos.demo_union import Demonstrations, task_index
from pvrbench.envs.spec import View
from pvrbench.policies.base import Policy, TrainJob, UntrainedPolicy


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy after training.

    Attributes:
        policy: the policy.
        seconds: what its training took; shared out evenly among those that were trained in one computation.
        feature_shape: shape of one row of what it was trained on.
    """

    policy: Policy
    seconds: float = 0.0
    feature_shape: tuple[int, ...] = ()


def demo_indices(job: Job, demos: Demonstrations) -> list[int]:
    """The demonstrations that the cells of a job train on."""
    return sorted({index for cell in job.cells for index in demos.subset(cell.num_demos, cell.seed)})


def demo_frames(
    indices: Sequence[int], job: Job, view: View, context: RunContext, demos: Demonstrations
) -> Sequence[Array]:
    """Pictures of some demonstrations, each under the look whose turn it is."""
    num_frames = sum(demos.length(index) for index in indices)
    context.listener.stage(f"{job.task.name}: rendering demonstrations", num_frames)
    drawn: dict[int, Array] = {}
    for turn, look in enumerate(job.train_looks):
        chosen = [index for index in indices if index % len(job.train_looks) == turn]
        frames = demos.frames(
            replace(view, look=look),
            context.cache_dir / "frames",
            chosen,
            num_workers=context.engine.num_workers,
            on_progress=context.listener.advance,
        )
        drawn |= dict(zip(chosen, frames, strict=True))
    return [drawn[index] for index in indices]


def features_of(
    job: Job, context: RunContext, encoder: TileEncoder, demos: Demonstrations
) -> dict[int, FrameFeatures | NonFiniteError]:
    """Features of the demonstrations that the cells train on, by index: encoded, or read from the caches."""
    return features_at(demo_indices(job, demos), job, context, encoder, demos)


def features_at(
    indices: Sequence[int], job: Job, context: RunContext, encoder: TileEncoder, demos: Demonstrations
) -> dict[int, FrameFeatures | NonFiniteError]:
    """Features of some demonstrations, by index: encoded, or read from the caches."""
    num_frames = sum(demos.length(index) for index in indices)
    inputs: Sequence[Array]
    if job.demo_view is not None:
        inputs = demo_frames(indices, job, job.demo_view, context, demos)
    elif job.encoder.modality == "state":
        inputs = [demos.demo(index).privileged for index in indices]
    else:
        inputs = [np.zeros((demos.length(index), 0), np.float32) for index in indices]
    context.listener.stage(f"{job.task.name}: {job.encoder.name}: encoding", num_frames)
    found = demo_features(encoder, context.features, inputs, context.listener.advance)
    return dict(zip(indices, found, strict=True))


def train(
    job: Job, context: RunContext, demos: Demonstrations, features: Mapping[int, FrameFeatures | NonFiniteError]
) -> dict[Cell, Trained]:
    """Trains the policies of all cells; those with one readout and network in one batched computation.

    A cell that was to learn from a demonstration whose features are not finite has a policy that failed.
    """
    sound = {index: found for index, found in features.items() if isinstance(found, FrameFeatures)}
    trained = {cell: Trained(policy) for cell, policy in _untrained(job, demos, features).items()}
    readouts, told = readouts_of(job, context), told_of(job)
    context.listener.stage(f"{job.task.name}: {job.encoder.name}: training {len(job.cells)} heads", len(job.cells))
    for name, members in groupby(job.cells, key=lambda cell: cell.readout):
        cells = [cell for cell in members if cell not in trained]
        if not cells:
            continue
        readout = readouts[name]
        table = _table(job, readout, demos, sound)
        inputs, instructions = table.features, None
        if told is not None:
            inputs, instructions = told.beside(table.features, told.trained[table.tasks])
        stages = _trained_readouts(job, readout, cells, table, demos)
        for names in _alike(job):
            chosen = [cell for cell in cells if cell.head in names]
            jobs = [
                TrainJob(
                    features=inputs,
                    instructions=instructions,
                    proprio=table.proprio,
                    actions=table.actions,
                    episodes=table.episodes,
                    rows=table.rows_of(demos.subset(cell.num_demos, cell.seed)),
                    seed=cell.seed,
                    trained_readout=stages[cell.num_demos, cell.seed],
                    regularisation=job.config.train_of(cell.head).regularisation(),
                    tuning=tuning_of(job, stages[cell.num_demos, cell.seed]),
                    shift_px=shift_of(job, name),
                )
                for cell in chosen
            ]
            started = time.monotonic()
            settings = job.config.train_of(names[0]).settings()
            num_checkpoints = job.config.checkpoint_evaluations
            num_processes = most_processes(job, context, jobs)
            policies = context.trainers.train(
                job.heads[names[0]], jobs, settings, num_checkpoints, context.listener.advance, num_processes
            )
            seconds = (time.monotonic() - started) / max(1, len(chosen))
            shape = tuple(table.features.shape[1:])
            trained |= {cell: Trained(policy, seconds, shape) for cell, policy in zip(chosen, policies, strict=True)}
    return trained


def _alike(job: Job) -> list[list[str]]:
    """The heads of a job, those together that differ in name and regularisation alone."""
    found: list[tuple[object, list[str]]] = []
    for name, spec in job.heads.items():
        kind = (spec.entry_point, spec.options, job.config.train_of(name).settings())
        names = next((names for other, names in found if other == kind), None)
        if names is None:
            found.append((kind, [name]))
        else:
            names.append(name)
    return [names for _, names in found]


def _untrained(
    job: Job, demos: Demonstrations, features: Mapping[int, FrameFeatures | NonFiniteError]
) -> dict[Cell, UntrainedPolicy]:
    failed: dict[Cell, UntrainedPolicy] = {}
    for cell in job.cells:
        chosen = demos.subset(cell.num_demos, cell.seed)
        faulty = {index: found for index in chosen if isinstance(found := features[index], NonFiniteError)}
        if faulty:
            which = ", ".join(map(str, sorted(faulty)[:5])) + (", ..." if len(faulty) > 5 else "")
            reason = f"{next(iter(faulty.values()))} It was so in demonstrations {which}."
            failed[cell] = UntrainedPolicy(job.heads[cell.head], reason)
    return failed


@dataclass(frozen=True, slots=True)
class _Table:
    """All demonstrations of a job, one after another: the policies of a readout share it and pick their rows.

    Attributes:
        features: what the readout's frozen stage gave, fused over the history.
        proprio: proprioception.
        actions: the expert's actions.
        episodes: the demonstration of each row.
        tasks: its task, by its place among those that are learned.
        rows: rows of each demonstration, by its index.
    """

    features: Tensor
    proprio: Tensor
    actions: Tensor
    episodes: Tensor
    tasks: Tensor
    rows: Mapping[int, Tensor]

    def rows_of(self, indices: Sequence[int]) -> Tensor:
        """Rows of some demonstrations, in the order in which they are given."""
        return torch.cat([self.rows[index] for index in indices])


def _table(job: Job, readout: Readout, demos: Demonstrations, features: Mapping[int, FrameFeatures]) -> _Table:
    vectors: list[Tensor] = []
    rows: dict[int, Tensor] = {}
    start = 0
    for index, found in features.items():
        part = readout.read(found.of(readout.spec))
        if job.config.fusion != "none":
            part = fuse(part[history_indices(len(part), job.config.history)], job.config.fusion)
        vectors.append(part)
        rows[index] = torch.arange(start, start + len(part))
        start += len(part)
    chosen = [demos.demo(index) for index in features]
    return _Table(
        features=torch.cat(vectors),
        proprio=torch.from_numpy(np.concatenate([demo.proprio for demo in chosen])),
        actions=torch.from_numpy(np.concatenate([demo.actions for demo in chosen])),
        episodes=torch.cat([torch.full((len(own),), index) for index, own in rows.items()]),
        tasks=torch.cat([torch.full((len(own),), task_index(demos, index)) for index, own in rows.items()]),
        rows=rows,
    )


def _trained_readouts(
    job: Job, readout: Readout, cells: Sequence[Cell], table: _Table, demos: Demonstrations
) -> dict[tuple[int, int], nn.Module | None]:
    """The stage between readout and head by number of demonstrations and seed; all heads start from the same."""
    return {
        (num_demos, seed): readout.fit(
            table.features[table.rows_of(demos.subset(num_demos, seed))], seed, job.config.budget_dim
        )
        for num_demos, seed in dict.fromkeys((cell.num_demos, cell.seed) for cell in cells)
    }
