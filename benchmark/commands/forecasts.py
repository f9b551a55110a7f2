"""What a run is expected to take where it is done, and how well that was forecast."""

from __future__ import annotations

from pvrbench.benchmark.catalog import executors
from pvrbench.benchmark.config import BenchmarkConfig
from pvrbench.benchmark.engine.forecast import (
    Forecast,
    JobsForecast,
    duration,
    forecast,
    forecast_jobs,
    learn,
    learned_factor,
    memory_bytes,
    size,
)
from pvrbench.benchmark.engine.hardware import available_mib, cache_root, num_cores, sized
from pvrbench.benchmark.plan import Plan


def is_remote(config: BenchmarkConfig) -> bool:
    """Whether a run's jobs are done on other machines."""
    return executors()[config.engine.executor].is_remote


def forecast_here(plan: Plan) -> Forecast:
    """What a plan takes on this machine."""
    return forecast(plan, num_cores(), learned_factor(cache_root(plan.config.engine.cache_dir)))


def memory_here(plan: Plan) -> int:
    """Bytes of memory that a plan takes on this machine, at most; the number of simulators follows what is free."""
    device = plan.config.engine.device
    engine = sized(plan.config.engine, "cpu" if device == "auto" else device, num_cores(), available_mib())
    return memory_bytes(plan, engine.num_workers, engine.envs_per_worker)


def forecast_there(plan: Plan) -> JobsForecast:
    """What the jobs of a plan take on a cluster."""
    config = plan.config
    factor = learned_factor(cache_root(config.engine.cache_dir), config.engine.executor)
    return forecast_jobs(plan, config.cluster.cores, factor)


def forecast_text(plan: Plan) -> str:
    """The forecast of a plan where it is done, for readers."""
    here, cluster = forecast_here(plan), plan.config.cluster
    disk = f"{size(here.disk_bytes)} of cache, {size(here.policy_bytes)} of stored policies"
    amount = f"{here.rollout_frames:,} rollout frames, {disk}."
    if not is_remote(plan.config):
        return (
            f"Forecast on {num_cores()} cores, nothing cached: {duration(here.seconds)} "
            f"(at most {duration(here.most_seconds)}), up to {size(memory_here(plan))} of memory, {amount}"
        )
    there, parallel = forecast_there(plan), min(cluster.parallel, len(plan.jobs))
    wall = f"; {duration(there.wall_s(parallel))} if {parallel} run at once" if parallel else ""
    return (
        f"Forecast of {len(plan.jobs)} jobs with {cluster.cores} cores each, nothing cached: {duration(there.seconds)} "
        f"one after another, {duration(there.longest_s)} for the longest (at most {duration(there.most_s)}){wall}; "
        f"{amount}"
    )


def learn_from(plan: Plan, wall_s: float, node_s: float) -> str:
    """Takes note of how long a whole run took where it was done.

    Args:
        plan: the run.
        wall_s: what it took.
        node_s: what its jobs took on the machines of a cluster, added up.

    Returns:
        How good the forecast was, for readers.
    """
    cache_dir = cache_root(plan.config.engine.cache_dir)
    if not is_remote(plan.config):
        here = forecast_here(plan)
        learn(cache_dir, here, wall_s)
        return f"Took {duration(wall_s)}; {duration(here.seconds)} were forecast."
    there = forecast_there(plan)
    learn(cache_dir, there, node_s, plan.config.engine.executor)
    return (
        f"Took {duration(wall_s)}. The jobs took {duration(node_s)} one after another; {duration(there.seconds)} were "
        "forecast."
    )
