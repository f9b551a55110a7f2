"""Parts of the engine with code of their own: a schedule that stops early, and an executor with other processes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from pvrbench.benchmark.engine.schedules.base import Round, Stop


class FirstSuccess:
    """Runs one episode of each cell after another, until the cell has solved one."""

    def __init__(self, num_episodes: int) -> None:
        self.num_episodes = num_episodes

    def next(self, outcomes: Any) -> Any:
        left = {
            cell: [len(episodes)]
            for cell, episodes in outcomes.items()
            if len(episodes) < self.num_episodes and not any(episode.success for episode in episodes)
        }
        return Round(left, {}) if left else Stop("it has solved one")


class OneProcessEach:
    """Does each job in a process of its own, as a cluster would on a machine of its own."""

    def __init__(self, site: Any) -> None:
        self.site = site

    def run(self, jobs: Any, run_job: Any, listener: Any) -> Any:
        del run_job, listener  # for this process; the others open the run's stores themselves
        for job in jobs:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                yield pool.submit(work, self.site, job).result()


def work(site: Any, job: Any) -> Any:
    """What runs in the other process."""
    from pvrbench.benchmark.engine.listener import LogListener
    from pvrbench.benchmark.engine.runner import run_jobs

    return run_jobs(site, [job], LogListener())
