"""One Ray task for each job of a run; without a shared folder Ray carries what is needed and what comes out."""

from __future__ import annotations

import importlib
import logging
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pvrbench.benchmark.cluster import ClusterError
from pvrbench.benchmark.engine.executors.base import RunSite
from pvrbench.benchmark.engine.executors.cluster import Needs, left_of, needed, needs_of, num_done, prepare_site, work
from pvrbench.benchmark.engine.hardware import cache_root
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.engine.result import JobResult
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.parts import PartStore
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.common.files import write_atomically
from pvrbench.envs.demos.demo_set import demo_path

R = TypeVar("R")
Files = Mapping[str, bytes]

# Folders of a run that a job adds to.
OUTPUTS = ("records", "rounds", "policies", "errors", "videos")
CONNECT_S = 10.0
# Seconds between two looks at what is recorded.
POLL_S = 2.0
# After so many such looks without an answer the head of the cluster is gone.
MAX_SILENCES = 5
REASON_LENGTH = 300


class HeadLostError(ClusterError):
    """The head of the Ray cluster is gone, and with it all tasks."""


class OnRay:
    """Gives every job to a node of a Ray cluster with room for it; see `ClusterConfig`.

    A job whose worker or node dies is given to another one. It goes on from the records of the run's folder where that
    is shared, and starts again where it is not.

    Args:
        site: the run.

    Raises:
        ClusterError: Ray is missing.
    """

    def __init__(self, site: RunSite) -> None:
        self.site, self.cluster = site, site.config.cluster
        needed(lambda: importlib.import_module("ray"), "ray", "ray")
        self.ray: Any = importlib.import_module("ray")

    def run(self, jobs: Sequence[Job], run_job: Callable[[Job], R], listener: Listener) -> Iterator[R]:
        """Does every job; see `Executor`."""
        del run_job  # for this process
        left = left_of(self.site, jobs)
        if not left:
            return
        self._connect()
        is_lost = False
        try:
            needs = needs_of(self.site.config, left)
            room = self._room_for(needs)
            listener.say(
                f"Ray: {len(left)} jobs, each with {needs.cores} cores and {needs.memory_mib} MiB; the nodes have room "
                f"for {room} at once."
            )
            yield from cast("Iterator[R]", self._results(left, needs, listener))
        except HeadLostError:
            is_lost = True
            raise
        finally:
            if not is_lost:  # Ray would try to reach the head for a minute, and then end this process
                self.ray.shutdown()

    def _connect(self) -> None:
        address = self.cluster.address
        is_named = address.rpartition(":")[2].isdigit() and "://" not in address
        try:
            if is_named and not answers(address):
                raise ConnectionError(address)  # Ray itself would try for minutes
            self.ray.init(
                address=None if address == "local" else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
        except OSError as error:
            if is_named and answers(address):
                raise ClusterError(
                    f"What listens at cluster.address={address} refuses this command. If the cluster asks for a token, "
                    "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to what its machines have; `ray get-auth-token` prints "
                    "it there. Else check that the head of a Ray cluster listens at this address."
                ) from error
            raise ClusterError(
                f"There is no Ray cluster at cluster.address={address}. Start one with `ray start --head`, give its "
                "address, or use cluster.address=local for one on this machine."
            ) from error
        except (RuntimeError, ValueError) as error:
            raise ClusterError(
                f"The Ray cluster at cluster.address={address} cannot be used: {' '.join(str(error).split())} Use the "
                "same versions of Ray and Python on all machines."
            ) from error

    def _room_for(self, needs: Needs) -> int:
        """How many jobs the nodes can do at once.

        Raises:
            ClusterError: no node is large enough; Ray would wait for one.
        """
        wanted = {"CPU": needs.cores, "GPU": needs.gpus, "memory": needs.memory_mib * 2**20}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        room = sum(min(int(node.get(name, 0) // number) for name, number in wanted.items() if number) for node in nodes)
        if not room:
            largest = {name: max(float(node.get(name, 0)) for node in nodes) for name in wanted}
            raise ClusterError(
                f"No node has {needs.cores} cores, {needs.gpus} GPUs and {needs.memory_mib} MiB together; the most are "
                f"{largest['CPU']:.0f} cores, {largest['GPU']:.0f} GPUs and {largest['memory'] / 2**20:.0f} MiB. Set "
                "cluster.cores, cluster.gpus and cluster.memory_gib."
            )
        return room

    def _results(self, jobs: Sequence[Job], needs: Needs, listener: Listener) -> Iterator[JobResult]:
        """The result of each task as it ends; a task that Ray gives up is an error of its job alone."""
        ray, told = self.ray, num_done(self.site, jobs)

        def task(function: Callable[..., object]) -> Any:
            return ray.remote(function).options(
                num_cpus=needs.cores,
                num_gpus=needs.gpus,
                memory=needs.memory_mib * 2**20,
                max_retries=self.cluster.retries,
            )

        if self.cluster.shared_folder:
            site = with_cache(self.site)
            self._prepared(task(prepare_site).remote(site, list(jobs)))
            work_on = task(work)

            def start(job: Job) -> Any:
                return work_on.remote(site, job)
        else:
            demos = ray.put(self._prepared(task(collect).remote(self.site, list(jobs))))
            work_on = task(work_apart)

            def start(job: Job) -> Any:
                return work_on.remote(self.site, job, demos, self._inputs_of(job))

        left, waiting = deque(jobs), dict[Any, Job]()
        head, failures = ray.get_runtime_context().gcs_address, 0
        while left or waiting:
            while left and len(waiting) < (self.cluster.parallel or len(jobs)):
                job = left.popleft()
                waiting[start(job)] = job
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
            for reference in ready:
                yield self._result(reference, waiting.pop(reference))
            if (done := num_done(self.site, jobs)) > told:
                listener.finished(done - told)
                told = done
            failures = 0 if answers(head) else failures + 1
            if failures == MAX_SILENCES:
                raise HeadLostError(
                    f"The head of the Ray cluster at {head} does not answer any more. Start the cluster again and give "
                    "the same command again: what is recorded is not done twice."
                )

    def _prepared(self, reference: Any) -> Any:
        """What the preparation returns.

        Raises:
            ClusterError: it failed.
        """
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, ClusterError):
                raise cause from error
            reason = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
            raise ClusterError(f"The preparation of the run failed on its node: {reason}") from error

    def _result(self, reference: Any, job: Job) -> JobResult:
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[-REASON_LENGTH:]
            return JobResult(errors={job.name: f"Ray gave the job up: {reason}"})
        if isinstance(found, JobResult):
            return found
        result, files = cast("tuple[JobResult, Files]", found)
        take_files(self.site.run_dir, files)
        return result

    def _inputs_of(self, job: Job) -> Files:
        """Stored policies that a job needs, and the records that name them, by path inside the run's folder."""
        folder = self.site.policy_dir or self.site.run_dir
        wanted = dict.fromkeys(cell.train for cell in job.cells)
        if self.site.policy_dir is not None:
            records = [record for record in RecordStore(folder).read()[0] if record.cell.train in wanted]
        else:
            parts = PartStore(folder).read()
            records = [part for cell in job.cells for part in parts.get(cell, ())]
        names = {record.digests.policy for record in records}
        paths = [folder / "policies" / f"{name}.{kind}" for name in names for kind in ("json", "safetensors")]
        files = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.exists()}
        if self.site.policy_dir is not None:
            files |= {f"records/{record.cell.slug}.json": record.model_dump_json().encode() for record in records}
        return files


def answers(address: str) -> bool:
    """Whether something listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError:
        return False
    return True


def with_cache(site: RunSite) -> RunSite:
    """The site with the cache of this machine named, for nodes that see it."""
    cache = str(cache_root(site.config.engine.cache_dir).absolute())
    engine = site.config.engine.model_copy(update={"cache_dir": cache})
    return replace(site, config=site.config.model_copy(update={"engine": engine}))


def collect(site: RunSite, jobs: Sequence[Job]) -> dict[str, bytes]:
    """Collects the demonstrations of some jobs on the node that calls it.

    Returns:
        Their files, by path inside the cache.
    """
    cache = cache_root(site.config.engine.cache_dir)
    with tempfile.TemporaryDirectory() as folder:
        prepare_site(replace(site, run_dir=Path(folder), policy_dir=None), jobs, frames=False)
    paths = {demo_path(cache, job.task) for job in jobs}
    return {str(path.relative_to(cache)): path.read_bytes() for path in paths}


def work_apart(site: RunSite, job: Job, demos: Files, inputs: Files) -> tuple[JobResult, dict[str, bytes]]:
    """Does a job on a node that sees neither the run's folder nor its cache.

    Args:
        site: the run.
        job: the job.
        demos: files of demonstrations, by path inside a cache.
        inputs: stored policies that it needs, by path inside the folder of the run that trained them.

    Returns:
        What was done, and the files that belong into the run's folder, by path inside it.
    """
    take_files(cache_root(site.config.engine.cache_dir), demos)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        trained = folder if site.policy_dir is None else Path(name) / "trained"
        take_files(trained, inputs)
        result = work(replace(site, run_dir=folder, policy_dir=None if trained == folder else trained), job)
        paths = [path for kind in OUTPUTS for path in (folder / kind).rglob("*") if path.is_file()]
        files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
        return result, {name: content for name, content in files.items() if name not in inputs}


def take_files(folder: Path, files: Files) -> None:
    """Writes files that are not there yet; one that is there is the same."""
    for name, content in files.items():
        path = folder / name
        if not path.exists():
            write_atomically(path, content)
