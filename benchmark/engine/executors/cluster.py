"""What executors on clusters share: what a job needs, what is left of it, and the work of one node."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pvrbench.benchmark.catalog import see_current_folder
from pvrbench.benchmark.cluster import ClusterError, time_limit
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.executors.base import RunSite
from pvrbench.benchmark.engine.forecast import forecast_jobs, learned_factor, memory_bytes
from pvrbench.benchmark.engine.hardware import TILE, cache_root
from pvrbench.benchmark.engine.result import JobResult
from pvrbench.benchmark.plan import Job, Plan
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.parts import PartStore
from pvrbench.benchmark.records.store import RecordStore


@dataclass(frozen=True, slots=True)
class Needs:
    """What each job of a run asks of a node.

    Attributes:
        cores: processor cores.
        gpus: GPUs.
        memory_mib: memory.
        minutes: time limit.
    """

    cores: int
    gpus: int
    memory_mib: int
    minutes: int


def needs_of(config: BenchmarkConfig, jobs: Sequence[Job]) -> Needs:
    """What the largest of some jobs needs: all of them ask for the same."""
    cluster, engine = config.cluster, config.engine
    workers = engine.num_workers or cluster.cores
    envs = engine.envs_per_worker or -(-3 * (engine.tile or TILE["cpu"]) // workers)
    plan = Plan(config, tuple(jobs), ())
    memory_mib = 1024 * cluster.memory_gib or memory_bytes(plan, workers, envs) / 2**20
    factor = learned_factor(cache_root(engine.cache_dir), engine.executor)
    longest = forecast_jobs(plan, cluster.cores, factor).most_s
    return Needs(
        cores=cluster.cores,
        gpus=cluster.gpus or int(engine.device.startswith("cuda")),
        memory_mib=round(memory_mib),
        minutes=cluster.minutes or time_limit(longest),
    )


def left_of(site: RunSite, jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the cells whose record, or part of it, is not stored yet."""
    store = RecordStore(site.run_dir)
    recorded = [record.cell for record in store.read()[0]]
    parts = PartStore(site.run_dir).read()

    def is_done(job: Job, cell: Cell) -> bool:
        if cell in done:
            return True
        if job.episodes is None or cell not in parts:
            return False
        there = {episode.index for part in parts[cell] for episode in part.episodes}
        return there.issuperset(job.episodes[cell])

    done = set(recorded)
    left = [job.only(cell for cell in job.cells if not is_done(job, cell)) for job in jobs]
    return [job for job in left if job.cells]


def num_done(site: RunSite, jobs: Sequence[Job]) -> int:
    """Cells of some jobs that have their record; by file names, so that it can be asked often."""
    store = RecordStore(site.run_dir)
    return sum(store.path_of(cell).exists() for job in jobs for cell in job.cells)


def on_node(site: RunSite) -> RunSite:
    """The site as a node with the cores of one job takes it."""
    config, cluster = site.config, site.config.cluster
    engine = config.engine.model_copy(update={"num_workers": config.engine.num_workers or cluster.cores})
    return replace(site, config=config.model_copy(update={"engine": engine}))


def work(site: RunSite, job: Job) -> JobResult:
    """Does a job on the node that calls it; what was recorded by an earlier attempt is not done again.

    Raises:
        ClusterError: the node does not see the run's folder.
    """
    started = time.monotonic()
    from pvrbench.benchmark.engine.listener import LogListener
    from pvrbench.benchmark.engine.runner import run_jobs

    _check_seen(site)
    see_current_folder()
    done = run_jobs(on_node(site), left_of(site, [job]), LogListener())
    return replace(done, node_seconds=time.monotonic() - started)


def prepare_site(site: RunSite, jobs: Sequence[Job], *, frames: bool = True) -> None:
    """Makes demonstrations, and their pictures, on the node that calls it, before jobs that would all make them.

    Raises:
        ClusterError: the node does not see the run's folder.
    """
    from pvrbench.benchmark.engine.listener import LogListener
    from pvrbench.benchmark.engine.runner import prepare

    _check_seen(site)
    see_current_folder()
    prepare(on_node(site), jobs, LogListener(), frames=frames)


def _check_seen(site: RunSite) -> None:
    """Refuses a folder that this node does not see; it would be made here, and nobody would find its records."""
    # What hands jobs in has written it.
    if site.config.cluster.shared_folder and not (site.run_dir / "config.json").is_file():
        raise ClusterError(not_seen(f"Node {platform.node()} does", site))


def not_seen(who: str, site: RunSite) -> str:
    """What to do about a folder that nodes do not see."""
    return (
        f"{who} not see the run's folder {site.run_dir}. Use a folder that all nodes see as run_dir=..., or "
        "engine.executor=ray with cluster.shared_folder=false."
    )


def needed(import_it: Callable[[], object], package: str, extra: str) -> None:
    """Imports a package of an extra.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        import_it()
    except ImportError as error:
        raise ClusterError(
            f"engine.executor={extra} needs the package {package}, which is not installed. Install it with "
            f"pip install 'pvrbench[{extra}]'."
        ) from error
