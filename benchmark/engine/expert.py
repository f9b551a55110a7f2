"""The scripted expert on the evaluated initial states: what the task allows at all, whatever N and seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context

from pvrbench.benchmark.engine.context import RunContext, load_task
from pvrbench.benchmark.engine.identity import demonstrations_of, digests_of
from pvrbench.benchmark.engine.provenance import processor, provenance
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.schema import CellRecord, Cost, Episode
from pvrbench.envs.base import SimulationError, Task, TaskEnv, handled_in
from pvrbench.envs.processes import serve_parent
from pvrbench.envs.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class _Share:
    """Some of the initial states, and the rule by which their episodes count."""

    task: TaskSpec
    states: Sequence[tuple[int, int]]
    horizon: int
    last_step: bool


def record_expert(job: Job, context: RunContext) -> int:
    """Runs the expert once for each initial state and records the same episodes for every pending cell of the job.

    Returns:
        The number of records.
    """
    config = job.config
    started = time.monotonic()
    task = load_task(job.task)
    states = task.initial_states(job.cells[0].split, config.num_episodes)
    context.listener.stage(f"{job.task.name}: expert: evaluating", len(states.seeds))
    numbered = list(enumerate(states.seeds))
    num_workers = min(config.engine.num_workers, len(numbered))
    shares = [
        _Share(job.task, numbered[start::num_workers], job.horizon, config.success_rule == "last_step")
        for start in range(num_workers)
    ]
    episodes: list[Episode] = []
    # Spawned, as all simulator processes are.
    prepare = partial(serve_parent, dies_of_interruptions=True)
    with ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=prepare) as pool:
        for found in pool.map(_run_share, shares):
            episodes += found
            context.listener.advance(len(found))
    demos = demonstrations_of(job, context, task)
    digests = digests_of(job, context, states, demos)
    for cell in job.cells:
        context.records.write(
            CellRecord(
                cell=cell,
                settings=job.settings[cell.head],
                digests=digests[cell],
                provenance=provenance(processor(), "", config.engine, job.encoder, demos.manifest.summary()),
                cost=Cost(encoder_params=0, readout_params=0, head_params=0, flops_per_frame=None, feature_dim=0),
                train_log={},
                failure=None,
                episodes=tuple(sorted(episodes, key=lambda episode: episode.index)),
                timing={"since_evaluation_began_s": time.monotonic() - started},
                recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
        context.listener.finished(1)
    return len(job.cells)


def _run_share(share: _Share) -> list[Episode]:
    task = load_task(share.task)
    env = task.make_env(None)
    try:
        return [_episode(task, env, share, index, seed) for index, seed in share.states]
    finally:
        env.close()


def _episode(task: Task, env: TaskEnv, share: _Share, index: int, seed: int) -> Episode:
    success, step, failure, handled = False, 0, None, ()
    try:
        env.reset(seed)
        act = task.make_expert(env, seed)
        for step in range(1, share.horizon + 1):  # noqa: B007 - the last one is what is recorded
            success = env.step(act()).success
            if success and not share.last_step:
                break
        handled = handled_in(env)
    except SimulationError as error:
        success, failure = False, str(error)
    return Episode(index=index, seed=seed, success=success, num_steps=step, failure=failure, handled=handled)
