"""One Slurm array for the jobs of a run, through submitit. Nodes see the run's folder."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, cast

from pvrbench.benchmark.cluster import ClusterError
from pvrbench.benchmark.engine.executors.base import RunSite
from pvrbench.benchmark.engine.executors.cluster import (
    Needs,
    left_of,
    needed,
    needs_of,
    not_seen,
    num_done,
    prepare_site,
    work,
)
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.engine.result import JobResult
from pvrbench.benchmark.plan import Job
from pvrbench.common.files import write_atomically

R = TypeVar("R")

POLL_S = 2.0
# Seconds in which the controller must answer before anything is handed in.
ANSWER_S = 30.0
PREPARATION = "preparation"
# The log of a task is told in so many characters.
LOG_TAIL = 300


class Work:
    """One task of the array. Slurm's signal before the end of its time makes it start again where it stopped."""

    def __call__(self, site: RunSite, job: Job) -> JobResult:
        """Does a job."""
        return work(site, job)

    def checkpoint(self, site: RunSite, job: Job) -> object:
        """What is put into the queue again: the same, for what is recorded is not done twice."""
        submitit: Any = importlib.import_module("submitit")
        return submitit.helpers.DelayedSubmission(self, site, job)


class Slurm:
    """Hands all jobs to Slurm at once and follows them; see `ClusterConfig`.

    The array goes on whatever becomes of the process that handed it in. The same command then waits for it, and does
    what is left.

    Args:
        site: the run.

    Raises:
        ClusterError: this is no machine of a Slurm cluster, its controller does not answer, or submitit is missing.
    """

    def __init__(self, site: RunSite) -> None:
        self.site, self.cluster = site, site.config.cluster
        self.folder = site.run_dir / "slurm"
        if not self.cluster.shared_folder:
            raise ClusterError(
                "engine.executor=slurm writes to the run's folder from all nodes, and cluster.shared_folder=false says "
                "that they do not see it. Use a shared folder as run_dir=..., or engine.executor=ray."
            )
        if shutil.which("sbatch") is None:
            raise ClusterError(
                "There is no Slurm on this machine: the command sbatch was not found. Use a login node of the cluster, "
                "or engine.executor=local."
            )
        needed(lambda: importlib.import_module("submitit"), "submitit", "slurm")
        _partitions()  # of a controller that answers

    def run(self, jobs: Sequence[Job], run_job: Callable[[Job], R], listener: Listener) -> Iterator[R]:
        """Does every job; see `Executor`."""
        del run_job  # for this process
        self._wait_for_earlier(jobs, listener)
        left = left_of(self.site, jobs)
        if left and not self.cluster.follow:
            self._submit(left, listener)
            listener.say(
                "The jobs are handed in (cluster.follow=false). `pvrbench status RUN_DIR` says how far they are."
            )
            return
        for attempt in range(self.cluster.retries + 1):
            if not left:
                return
            if attempt:
                listener.say(f"{len(left)} jobs were killed and are handed in again.")
            killed: dict[str, str] = {}
            tasks = self._submit(left, listener)
            yield from cast("Iterator[R]", self._results(tasks, left, killed, listener))
            left = left_of(self.site, [job for job in left if job.name in killed])
            if attempt == self.cluster.retries and left:
                yield cast("R", JobResult(errors={job.name: killed[job.name] for job in left}))

    def _submit(self, jobs: Sequence[Job], listener: Listener) -> list[Any]:
        """Hands in the preparation and the array that waits for it."""
        submitit: Any = importlib.import_module("submitit")
        executor = submitit.SlurmExecutor(folder=self.folder, max_num_timeout=self.cluster.retries)
        needs = needs_of(self.site.config, jobs)
        executor.update_parameters(**self._parameters(needs))
        try:
            with redirect_stderr(StringIO()):  # submitit prints what it raises
                first = executor.submit(prepare_site, self.site, list(jobs))
                executor.update_parameters(dependency=f"afterok:{first.job_id}")
                tasks = executor.map_array(Work(), [self.site] * len(jobs), list(jobs))
        except submitit.core.utils.FailedJobError as error:
            raise ClusterError(
                f"Slurm refuses the jobs: {_one_line(str(error))}. The partitions are {', '.join(_partitions())}: "
                "cluster.partition=... chooses one, cluster.cores, cluster.memory_gib and cluster.minutes what a job "
                "asks for."
            ) from error
        array = str(tasks[0].job_id).partition("_")[0]
        write_atomically(self.folder / "array.json", json.dumps({"jobs": [first.job_id, array]}) + "\n")
        listener.say(
            f"Slurm: array {array} of {len(jobs)} jobs after job {first.job_id}, each with {needs.cores} cores, "
            f"{needs.memory_mib} MiB and {needs.minutes} min; logs in {self.folder}."
        )
        return [first, *tasks]

    def _parameters(self, needs: Needs) -> dict[str, object]:
        cluster = self.cluster
        given: dict[str, object] = {
            "job_name": "pvrbench",
            "time": needs.minutes,
            "cpus_per_task": needs.cores,
            "mem": f"{needs.memory_mib}MB",
            "array_parallelism": cluster.parallel or 10_000,
            "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", **cluster.options},
        }
        if needs.gpus:
            given["gpus_per_node"] = needs.gpus
        return given | {
            key: value for key, value in (("partition", cluster.partition), ("account", cluster.account)) if value
        }

    def _results(
        self, tasks: Sequence[Any], jobs: Sequence[Job], killed: dict[str, str], listener: Listener
    ) -> Iterator[JobResult]:
        """The result of each task as it ends.

        Args:
            tasks: of Slurm: the preparation, then one for each job.
            jobs: the jobs.
            killed: takes the jobs whose task Slurm knows no more and which left no result, and why.
            listener: hears of cells that were recorded.

        Raises:
            ClusterError: the preparation failed, or the nodes do not see the run's folder.
        """
        names = [PREPARATION, *(job.name for job in jobs)]
        waiting = {str(task.job_id): (task, name) for task, name in zip(tasks, names, strict=True)}
        handed_in = sorted({name.partition("_")[0] for name in waiting})
        told, missing, answers = num_done(self.site, jobs), set[str](), True
        while waiting:
            time.sleep(POLL_S)
            if (done := num_done(self.site, jobs)) > told:
                listener.finished(done - told)
                told = done
            alive = queued(handed_in)
            if answers and alive is None:
                listener.say("Slurm's controller does not answer. Jobs that run go on; waiting for it.")
            answers = alive is not None
            for task_id, (task, name) in list(waiting.items()):
                if Path(task.paths.result_pickle).exists():
                    del waiting[task_id]
                    yield self._result(task, name, handed_in)
                # Where the controller does not answer, the nodes go on, and it may come back. Files of another machine
                # may be seen here some time after the end of its task.
                elif alive is not None and task_id not in alive:
                    if task_id in missing:
                        if name == PREPARATION and not Path(task.paths.stderr).exists():
                            raise ClusterError(not_seen("The nodes do", self.site))
                        del waiting[task_id]
                        killed[name] = f"Slurm task {task_id} ended without a result. {_tail(Path(task.paths.stderr))}"
                    missing.add(task_id)

    def _result(self, task: Any, name: str, handed_in: Sequence[str]) -> JobResult:
        """What a task that came to its end has done.

        Raises:
            ClusterError: it was the preparation, and it failed.
        """
        try:
            found = task.result()
        except Exception as error:
            reason = _one_line(str(error))[-LOG_TAIL:]
            if name == PREPARATION:
                subprocess.run(["scancel", *handed_in], capture_output=True, check=False)
                raise ClusterError(
                    f"The preparation of the run failed, and its jobs were cancelled: {reason} Its log is "
                    f"{task.paths.stderr}; the same command tries it again."
                ) from error
            return JobResult(errors={name: f"Slurm task {task.job_id}: {reason}"})
        return found if isinstance(found, JobResult) else JobResult()

    def _wait_for_earlier(self, jobs: Sequence[Job], listener: Listener) -> None:
        """Waits while an earlier command's array of this run is in the queue: its jobs are not done twice."""
        try:
            names = [str(name) for name in json.loads((self.folder / "array.json").read_text())["jobs"]]
        except (OSError, ValueError, KeyError):
            return
        told, said = num_done(self.site, jobs), False
        while (alive := queued(names)) is None or alive:
            if not self.cluster.follow:
                raise ClusterError(
                    f"Slurm jobs {', '.join(names)} of this run are still in the queue. Wait for them, or end them "
                    f"with scancel {' '.join(names)}."
                )
            if not said:
                listener.say(f"Slurm jobs {', '.join(names)} of an earlier command are in the queue; waiting for them.")
                said = True
            time.sleep(POLL_S)
            if (done := num_done(self.site, jobs)) > told:
                listener.finished(done - told)
                told = done


def queued(names: Sequence[str]) -> set[str] | None:
    """Tasks of some Slurm jobs that wait or run, `12` or `12_3`; None where the controller does not answer."""
    result = subprocess.run(
        ["squeue", "-h", "-r", "-j", ",".join(names), "-o", "%i"], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        return set() if "Invalid job id" in result.stderr else None
    return set(result.stdout.split())


def _partitions() -> list[str]:
    """Names of the partitions of this cluster.

    Raises:
        ClusterError: Slurm does not answer.
    """
    command = ["sinfo", "--noheader", "--format=%P"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_S)
        reason = _one_line(result.stderr)[:LOG_TAIL] if result.returncode else ""
    except subprocess.TimeoutExpired as error:
        raise ClusterError(_no_answer(f"sinfo said nothing for {ANSWER_S:.0f} s")) from error
    if reason:
        raise ClusterError(_no_answer(reason))
    return sorted({name.rstrip("*") for name in result.stdout.split()})


def _no_answer(reason: str) -> str:
    return (
        f"Slurm does not answer on this machine: {reason}. Try `sinfo`, and give the same command again when it "
        "answers, or use engine.executor=local."
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _tail(path: Path) -> str:
    """The end of a task's log, or why there is none."""
    try:
        return f"Its log ends: {_one_line(path.read_text(errors='replace'))[-LOG_TAIL:]}"
    except OSError:
        return f"There is no log {path}: check that the nodes see this folder."
