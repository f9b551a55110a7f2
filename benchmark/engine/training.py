"""Demonstrations -> features -> trained heads, for the cells of one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.features import FrameFeatures, NonFiniteError, TileEncoder, demo_features
from pvrbench.benchmark.engine.workplace import Listener, Workplace
from pvrbench.benchmark.plan import CellGroup, Plan
from pvrbench.benchmark.records.schema import Cell
from pvrbench.encoders.readouts.catalog import ReadoutSpec
from pvrbench.encoders.readouts.fusion import fuse, history_indices
from pvrbench.encoders.readouts.reading import fit_readout, read
from pvrbench.envs.base import Array, Task
from pvrbench.envs.demos.collection import collect_demos
from pvrbench.envs.demos.demo_file import Demo
from pvrbench.envs.demos.demo_set import DemoSet, demo_order, demo_path
from pvrbench.policies.base import TrainedHead, TrainJob, UntrainedHead


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The demonstrations of one task that the pending cells of a group train on."""

    digest: str
    demos: Mapping[int, Demo]


def demonstrations(work: Workplace, group: CellGroup, task: Task) -> Demonstrations:
    """The demonstrations that the cells of a group train on, collected where they are missing."""
    path = demo_path(work.cache_dir, group.task)
    file = ensure_demos(task, work.config.demo_pool, path, work.listener)
    chosen = {index for cell in group.cells for index in demo_order(work.config.demo_pool, cell.seed)[: cell.num_demos]}
    return Demonstrations(file.digest_of(work.config.demo_pool), {index: file.demo(index) for index in sorted(chosen)})


def ensure_demos(task: Task, num_demos: int, path: Path, listener: Listener) -> DemoSet:
    """Opens the demonstrations of a task, collecting those that are missing."""
    spec = task.spec
    if not path.exists() or len(DemoSet.open(path, spec, spec.demo_noise, spec.demo_end)) < num_demos:
        listener.stage(f"{spec.name}: collecting demonstrations", num_demos)
        collect_demos(task, num_demos, path, listener.advance, spec.demo_noise, spec.demo_end)
    return DemoSet.open(path, spec, spec.demo_noise, spec.demo_end, num_demos)


def features_of(
    work: Workplace, group: CellGroup, encoder: TileEncoder, demos: Demonstrations
) -> dict[int, FrameFeatures | NonFiniteError]:
    """Features of the demonstrations, by index: rendered, encoded or read from the caches."""
    indices = list(demos.demos)
    num_frames = sum(len(demo.actions) for demo in demos.demos.values())
    inputs: Sequence[Array]
    if group.view is not None:
        work.listener.stage(f"{group.task.name}: rendering demonstrations", num_frames)
        spec = group.task
        file = DemoSet.open(demo_path(work.cache_dir, spec), spec, spec.demo_noise, spec.demo_end)
        inputs = file.frames(
            group.view,
            work.cache_dir / "frames",
            indices,
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
    """Trains the heads of all cells; those with one readout and network in one batched computation.

    A cell that was to learn from a demonstration whose features are not finite has a head that failed.
    """
    sound = {index: found for index, found in features.items() if isinstance(found, FrameFeatures)}
    trained: dict[Cell, TrainedHead] = _untrained(work.config, group, features)
    work.listener.stage(f"{group.task.name}: {group.encoder.name}: training {len(group.cells)} heads", len(group.cells))
    for readout, members in groupby(group.cells, key=lambda cell: cell.readout):
        cells = [cell for cell in members if cell not in trained]
        if not cells:
            continue
        table = _table(work.config, plan.readouts[readout], demos, sound)
        fronts = _fronts(work.config, plan.readouts[readout], cells, table)
        for names in _alike(plan):
            chosen = [cell for cell in cells if cell.head in names]
            jobs = [
                TrainJob(
                    features=table.features,
                    proprio=table.proprio,
                    actions=table.actions,
                    rows=table.rows_of(work.config, cell.num_demos, cell.seed),
                    seed=cell.seed,
                    front=fronts[cell.num_demos, cell.seed],
                    regularisation=work.config.train_of(cell.head).regularisation(),
                )
                for cell in chosen
            ]
            spec, settings = plan.heads[names[0]], work.config.train_of(names[0]).settings()
            num_checkpoints = work.config.checkpoint_evaluations
            heads = work.trainers.train(spec, jobs, settings, num_checkpoints, work.listener.advance)
            trained.update(zip(chosen, heads, strict=True))
    return trained


def _alike(plan: Plan) -> list[list[str]]:
    """The heads of a plan, those together that differ in name and regularisation alone."""
    found: list[tuple[object, list[str]]] = []
    for name, spec in plan.heads.items():
        kind = (spec.entry_point, dict(spec.options), plan.config.train_of(name).settings())
        names = next((names for other, names in found if other == kind), None)
        if names is None:
            found.append((kind, [name]))
        else:
            names.append(name)
    return [names for _, names in found]


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


@dataclass(frozen=True, slots=True)
class _Table:
    """All demonstrations of a group, one after another: the heads of a readout share it and pick their rows.

    Attributes:
        features: what the frozen readout gave, fused over the history.
        proprio: proprioception.
        actions: the expert's actions.
        rows: rows of each demonstration, by its index.
    """

    features: Tensor
    proprio: Tensor
    actions: Tensor
    rows: Mapping[int, Tensor]

    def rows_of(self, config: BenchmarkConfig, num_demos: int, seed: int) -> Tensor:
        """Rows of the demonstrations that a seed takes, in the order in which it takes them."""
        return torch.cat([self.rows[index] for index in demo_order(config.demo_pool, seed)[:num_demos]])


def _table(
    config: BenchmarkConfig, readout: ReadoutSpec, demos: Demonstrations, features: Mapping[int, FrameFeatures]
) -> _Table:
    vectors: list[Tensor] = []
    rows: dict[int, Tensor] = {}
    start = 0
    for index, found in features.items():
        part = read(readout, found.of(readout))
        if config.fusion != "none":
            part = fuse(part[history_indices(len(part), config.history)], config.fusion)
        vectors.append(part)
        rows[index] = torch.arange(start, start + len(part))
        start += len(part)
    chosen = [demos.demos[index] for index in features]
    return _Table(
        features=torch.cat(vectors),
        proprio=torch.from_numpy(np.concatenate([demo.proprio for demo in chosen])),
        actions=torch.from_numpy(np.concatenate([demo.actions for demo in chosen])),
        rows=rows,
    )


def _fronts(
    config: BenchmarkConfig, readout: ReadoutSpec, cells: Sequence[Cell], table: _Table
) -> dict[tuple[int, int], nn.Module | None]:
    """The stage between readout and head by number of demonstrations and seed; all heads start from the same."""
    return {
        (num_demos, seed): fit_readout(
            readout, table.features[table.rows_of(config, num_demos, seed)], seed, config.budget_dim
        )
        for num_demos, seed in dict.fromkeys((cell.num_demos, cell.seed) for cell in cells)
    }
