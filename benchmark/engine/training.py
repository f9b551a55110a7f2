"""Demonstrations -> features -> trained heads, for the cells of one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.config import BenchmarkConfig
from benchmark.engine.features import FrameFeatures, NonFiniteError, TileEncoder, demo_features
from benchmark.engine.workplace import Listener, Workplace
from benchmark.plan import CellGroup, Plan
from benchmark.records import Cell
from encoders.fusion import fuse, history_indices
from encoders.readout import fit_readout, read
from encoders.readout_catalog import ReadoutSpec
from envs.base import Array, Task
from envs.demos import Demo, DemoFile, collect_demos
from envs.frames import load_frames
from envs.spec import TaskSpec
from policies.base import TrainedHead, TrainJob, UntrainedHead


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The demonstrations of one task that the pending cells of a group train on."""

    digest: str
    demos: Mapping[int, Demo]


def demo_order(pool_size: int, seed: int) -> list[int]:
    """The order in which a seed takes demonstrations from the pool; its first N are its subset of size N."""
    return [int(index) for index in np.random.default_rng([seed, pool_size]).permutation(pool_size)]


def demonstrations(work: Workplace, group: CellGroup, task: Task) -> Demonstrations:
    """The demonstrations that the cells of a group train on, collected where they are missing."""
    path = demo_path(work.cache_dir, group.task)
    file = ensure_demos(task, work.config.demo_pool, path, work.listener)
    chosen = {index for cell in group.cells for index in demo_order(work.config.demo_pool, cell.seed)[: cell.num_demos]}
    return Demonstrations(file.digest_of(work.config.demo_pool), {index: file.demo(index) for index in sorted(chosen)})


def demo_path(cache_dir: Path, task: TaskSpec) -> Path:
    """Where the demonstrations of a task are stored."""
    return cache_dir / "demos" / f"{task.name}.hdf5"


def ensure_demos(task: Task, num_demos: int, path: Path, listener: Listener) -> DemoFile:
    """Opens the demonstrations of a task, collecting those that are missing."""
    if path.exists() and len(file := DemoFile(path)) >= num_demos:
        return file
    listener.stage(f"{task.spec.name}: collecting demonstrations", num_demos)
    return collect_demos(task, num_demos, path, listener.advance, task.spec.demo_noise)


def features_of(
    work: Workplace, group: CellGroup, encoder: TileEncoder, demos: Demonstrations
) -> dict[int, FrameFeatures | NonFiniteError]:
    """Features of the demonstrations, by index: rendered, encoded or read from the caches."""
    indices = list(demos.demos)
    num_frames = sum(len(demo.actions) for demo in demos.demos.values())
    inputs: Sequence[Array]
    if group.view is not None:
        work.listener.stage(f"{group.task.name}: rendering demonstrations", num_frames)
        file = DemoFile(demo_path(work.cache_dir, group.task))
        inputs = load_frames(
            group.task,
            file,
            indices,
            group.view,
            work.cache_dir / "frames",
            num_workers=work.config.engine.num_workers,
            on_progress=work.listener.advance,
        )
    elif group.encoder.modality == "state":
        inputs = [demo.privileged for demo in demos.demos.values()]
    else:
        inputs = [np.zeros((len(demo.actions), 0), np.float32) for demo in demos.demos.values()]
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: encoding", num_frames)
    found = demo_features(encoder, work.features, inputs, work.listener.advance)
    return dict(zip(indices, found, strict=True))


def train(
    plan: Plan,
    work: Workplace,
    group: CellGroup,
    demos: Demonstrations,
    features: Mapping[int, FrameFeatures | NonFiniteError],
) -> dict[Cell, TrainedHead]:
    """Trains the heads of all cells; those with one readout and head type in one batched computation.

    A cell that was to learn from a demonstration whose features are not finite has a head that failed.
    """
    sound = {index: found for index, found in features.items() if isinstance(found, FrameFeatures)}
    trained: dict[Cell, TrainedHead] = _untrained(work.config, group, features)
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: training {len(group.cells)} heads", len(group.cells))
    for (readout, head), members in groupby(group.cells, key=lambda cell: (cell.readout, cell.head)):
        cells = [cell for cell in members if cell not in trained]
        inputs = _head_inputs(work.config, plan.readouts[readout], sound)
        jobs = [_job(work.config, plan.readouts[readout], cell, demos, inputs) for cell in cells]
        spec = replace(plan.heads[head], options={**plan.heads[head].options, **work.config.head_options})
        settings, num_checkpoints = work.config.train.settings(), work.config.checkpoint_evaluations
        heads = work.trainers.train(spec, jobs, settings, num_checkpoints, work.listener.advance)
        trained.update(zip(cells, heads, strict=True))
    return trained


def _untrained(
    config: BenchmarkConfig, group: CellGroup, features: Mapping[int, FrameFeatures | NonFiniteError]
) -> dict[Cell, TrainedHead]:
    failed: dict[Cell, TrainedHead] = {}
    for cell in group.cells:
        chosen = demo_order(config.demo_pool, cell.seed)[: cell.num_demos]
        faulty = {index: found for index in chosen if isinstance(found := features[index], NonFiniteError)}
        if faulty:
            which = ", ".join(map(str, sorted(faulty)[:5])) + (", ..." if len(faulty) > 5 else "")
            failed[cell] = UntrainedHead(f"{next(iter(faulty.values()))} It was so in demonstrations {which}.")
    return failed


def _head_inputs(
    config: BenchmarkConfig, readout: ReadoutSpec, features: Mapping[int, FrameFeatures]
) -> dict[int, Tensor]:
    """What the head reads at each step of each demonstration: the readout, fused over the history."""
    inputs: dict[int, Tensor] = {}
    for index, found in features.items():
        vectors = read(readout, found.of(readout))
        if config.fusion != "none":
            vectors = fuse(vectors[history_indices(len(vectors), config.history)], config.fusion)
        inputs[index] = vectors
    return inputs


def _job(
    config: BenchmarkConfig,
    readout: ReadoutSpec,
    cell: Cell,
    demos: Demonstrations,
    inputs: Mapping[int, Tensor],
) -> TrainJob:
    chosen = demo_order(config.demo_pool, cell.seed)[: cell.num_demos]
    features = torch.cat([inputs[index] for index in chosen])
    return TrainJob(
        features=features,
        proprio=torch.from_numpy(np.concatenate([demos.demos[index].proprio for index in chosen])),
        actions=torch.from_numpy(np.concatenate([demos.demos[index].actions for index in chosen])),
        seed=cell.seed,
        front=fit_readout(readout, features, cell.seed, config.budget_dim),
    )
