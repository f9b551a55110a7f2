"""Processes that train heads: one thread each, a share of the heads each, the same bits as training all in one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import cast

import torch
from torch import Tensor

from pvrbench.benchmark.engine.processor import one_thread
from pvrbench.envs.processes import serve_parent
from pvrbench.policies.base import Policy, TrainJob
from pvrbench.policies.spec import HeadSpec, TrainSettings
from pvrbench.policies.together import train_heads


class Trainers:
    """Trains heads on the cores that wait while nothing is simulated. Use as a context manager.

    A head's parameters do not depend on which others are trained beside it, so neither do they on the number of
    processes. On a GPU all heads are trained in this process.

    Args:
        num_workers: processes; they start when they are first needed.
        device: where to train.
    """

    def __init__(self, num_workers: int, device: str) -> None:
        self.num_workers, self.device = num_workers, device
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Trainers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def train(
        self,
        spec: HeadSpec,
        jobs: Sequence[TrainJob],
        settings: TrainSettings,
        num_checkpoints: int = 0,
        on_progress: Callable[[int], None] = lambda _count: None,
        most_processes: int | None = None,
    ) -> list[Policy]:
        """Trains one head for each job; see `pvrbench.policies.together.train_heads`.

        Args:
            spec: the head.
            jobs: demonstrations and seed of each.
            settings: optimisation.
            num_checkpoints: evenly spaced parameter sets to keep.
            on_progress: called with the number of heads finished.
            most_processes: that memory has room for; None for as many as there are.

        Raises:
            ValueError: a job's features, proprioception and actions are of different lengths.
        """
        num_shares = 1 if self.device != "cpu" else min(most_processes or self.num_workers, self.num_workers, len(jobs))
        if num_shares > 1:
            try:
                return self._share_out((spec, settings, num_checkpoints), jobs, num_shares, on_progress)
            except BrokenProcessPool:
                # A process was killed, by the system for its memory most likely: on with one.
                self.close()
                self.num_workers = 1
        with one_thread():
            heads = train_heads(spec, jobs, settings, self.device, num_checkpoints)
        on_progress(len(jobs))
        return heads

    def _share_out(
        self,
        recipe: tuple[HeadSpec, TrainSettings, int],
        jobs: Sequence[TrainJob],
        num_shares: int,
        on_progress: Callable[[int], None],
    ) -> list[Policy]:
        if self._pool is None:
            # Spawned: threads of torch do not survive a fork.
            self._pool = ProcessPoolExecutor(self.num_workers, get_context("spawn"), initializer=_prepare)
        shares = [range(start, len(jobs), num_shares) for start in range(num_shares)]
        tasks: dict[Future[bytes], range] = {
            # By value: tensors in shared memory would each hold a file open.
            self._pool.submit(_train, pickle.dumps((recipe, _own_rows([jobs[index] for index in share])))): share
            for share in shares
        }
        trained: dict[int, Policy] = {}
        for task in as_completed(tasks):
            trained.update(zip(tasks[task], pickle.loads(task.result()), strict=True))  # noqa: S301 - our own
            on_progress(len(tasks[task]))
        return [trained[index] for index in range(len(jobs))]


def _own_rows(jobs: Sequence[TrainJob]) -> list[TrainJob]:
    """The jobs with no more rows of the tables that they share than they learn from: that is what is sent."""
    tables: dict[tuple[int, ...], list[TrainJob]] = {}
    for job in jobs:
        parts = (job.features, job.proprio, job.actions, job.episodes, job.instructions)
        tables.setdefault(tuple(id(part) for part in parts), []).append(job)
    cut: dict[int, TrainJob] = {}
    for sharing in tables.values():
        wanted = [job.rows for job in sharing if job.rows is not None]
        if len(wanted) < len(sharing):
            cut |= {id(job): job for job in sharing}
            continue
        kept = cast("Tensor", torch.cat(wanted).unique())
        first = sharing[0]
        features, proprio, actions = first.features[kept], first.proprio[kept], first.actions[kept]
        episodes = first.episodes[kept]
        told = None if first.instructions is None else first.instructions[kept]
        for job, rows in zip(sharing, wanted, strict=True):
            renumbered = torch.searchsorted(kept, rows)
            cut[id(job)] = replace(
                job,
                features=features,
                proprio=proprio,
                actions=actions,
                episodes=episodes,
                instructions=told,
                rows=renumbered,
            )
    return [cut[id(job)] for job in jobs]


def _prepare() -> None:
    torch.set_num_threads(1)
    serve_parent()


def _train(job: bytes) -> bytes:
    (spec, settings, num_checkpoints), jobs = pickle.loads(job)  # noqa: S301 - our own
    return pickle.dumps(train_heads(spec, jobs, settings, "cpu", num_checkpoints))
