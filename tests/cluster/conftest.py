"""A real Slurm cluster and a real Ray cluster of several nodes on this machine, and a run to be disturbed on them."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

SETTINGS = [
    *("preset=quickstart", "tasks=[metaworld/reach-v3]", "encoders=[pixels_7,oracle,proprio]", "baselines=[]"),
    *("readouts=[pooled,mean]", "num_demos=[1,2]", "seeds=[0,1]", "num_episodes=5", "demo_pool=4", "horizon=40"),
    *("image_px=32", "train.num_updates=100", "engine.videos=false", "cluster.cores=1", "cluster.memory_gib=3"),
]
NODES = ("n1", "n2", "n3")

# Ray asks for a token where its user happens to have one. This one is of these clusters alone.
RAY_ENV = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

SLURM_CONF = """
ClusterName=pvrbench
SlurmctldHost={host}
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
JobRequeue=1
SchedulerParameters=sched_interval=2
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=1 RealMemory=4000
PartitionName=main Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP
"""


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Waits for something that must happen."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def processes_of(variable: str) -> list[int]:
    """Processes of this machine with `NAME=value` in their environment."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kill(pids: Sequence[int]) -> None:
    """Kills processes that may be gone already."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def without(hidden: Path | None) -> list[str]:
    """The start of a command that shall not see a folder: it finds an empty one there."""
    return [] if hidden is None else ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "sh"]


@dataclass(slots=True)
class SlurmCluster:
    """Debian's Slurm with three nodes of one core on this machine."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict[str, str])

    def start(self) -> None:
        host, port = socket.gethostname(), 20000 + os.getpid() % 10000
        for name in ("state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        conf = self.folder / "slurm.conf"
        conf.write_text(SLURM_CONF.format(host=host, port=port, folder=self.folder, first=port + 11, last=port + 13))
        self.env = {"SLURM_CONF": str(conf)}
        paths = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
        paths |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        self.call("munged", "--force", *(f"--{name}={self.folder / path}" for name, path in paths.items()))
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def call(self, *command: str) -> str:
        found = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False)
        return found.stdout.strip()

    def start_controller(self) -> None:
        self.call("slurmctld")

    def start_node(self, name: str, hidden: Path | None = None) -> None:
        self.call(*without(hidden), "slurmd", "-N", name)

    def restart_nodes(self, hidden: Path | None = None) -> None:
        """Starts all nodes again, as machines that do not see a folder."""
        for node in NODES:
            self.kill_node(node)
            self.start_node(node, hidden)
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        wait_until(lambda: self.call("sinfo", "-h", "-t", "idle", "-o", "%D") == "3", "three idle nodes")

    def kill_controller(self) -> None:
        kill(self._daemon("slurmctld"))

    def kill_node(self, name: str) -> None:
        """Everything on a node ends at once, as when its power fails."""
        jobs = self.call("squeue", "-h", "-t", "running", "-w", name, "-o", "%A").split()
        steps = [pid for job in jobs for pid in self._steps(job)]
        kill([*self._daemon(f"slurmd-{name}"), *steps, *processes_of(f"SLURMD_NODENAME={name}")])

    def stop(self) -> None:
        self.call("scancel", "--user=root", "--signal=KILL")
        for node in NODES:
            self.kill_node(node)
        self.kill_controller()
        kill(self._daemon("munged"))

    def _daemon(self, name: str) -> list[int]:
        path = self.folder / f"{name}.pid"
        return [int(path.read_text())] if path.exists() else []

    @staticmethod
    def _steps(job: str) -> list[int]:
        found: list[int] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().startswith(f"slurmstepd: [{job}.".encode()):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


@dataclass(slots=True)
class RayCluster:
    """A head and two nodes of one core on this machine, each a process group of its own."""

    folder: Path
    sockets: Path
    port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def start(self) -> None:
        self._launch("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false")
        for _ in range(2):
            self.add_node()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add_node(self, hidden: Path | None = None) -> None:
        """Adds a node, which may be one that does not see a folder."""
        self._launch(f"--address={self.address}", "--num-cpus=1", "--memory=4000000000", hidden=hidden)

    def kill_node(self) -> None:
        """Ends the first node that is not the head, with all of its workers."""
        process = self.nodes.pop(1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_head(self) -> None:
        """Ends the head; its nodes end themselves after a while."""
        head = self.nodes.pop(0)
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()

    def restart_nodes(self, hidden: Path | None = None) -> None:
        """Starts both nodes again, as machines that do not see a folder."""
        for _ in range(2):
            self.kill_node()
        for _ in range(2):
            self.add_node(hidden)

    def stop(self) -> None:
        while self.nodes:
            process = self.nodes.pop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _launch(self, *options: str, hidden: Path | None = None) -> None:
        command = [
            *without(hidden),
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            "--disable-usage-stats",
        ]
        size = "--object-store-memory=200000000"
        log = self.folder / f"node{len(list(self.folder.glob('*.log')))}.log"
        # Sockets have a folder with a short name, since their paths may be no longer than 107 characters.
        # Ray's workers are nice by default: beside other programs they would be slower than local processes.
        env = {**os.environ, **RAY_ENV, "RAY_TMPDIR": str(self.sockets), "RAY_worker_niceness": "0"}
        with log.open("wb") as file:
            node = subprocess.Popen(
                [*command, size, *options], env=env, stdout=file, stderr=file, start_new_session=True
            )
        self.nodes.append(node)
        wait_until(lambda: "runtime started" in log.read_text(), "a node of Ray")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if shutil.which("slurmctld") is None or importlib.util.find_spec("submitit") is None:
        pytest.skip("needs Debian's slurmctld, slurmd and munge, and submitit: make test-cluster installs them")
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def running_ray(folder: Path, port: int) -> Generator[RayCluster]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs ray: make test-cluster installs it")
    cluster = RayCluster(folder, Path(tempfile.mkdtemp(prefix="ray-")), port)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(cluster.sockets, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with running_ray(tmp_path_factory.mktemp("ray"), 30000 + os.getpid() % 10000) as cluster:
        yield cluster


@pytest.fixture
def doomed_ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """One that a test may destroy."""
    with running_ray(tmp_path_factory.mktemp("ray"), 40001 + os.getpid() % 10000) as cluster:
        yield cluster


@dataclass(frozen=True, slots=True)
class Runs:
    """Starts the run of these tests, and reads what it leaves."""

    cache: Path
    settings: Sequence[str] = tuple(SETTINGS)

    @staticmethod
    def wait_until(is_so: Callable[[], object], what: str, seconds: float = 180) -> None:
        wait_until(is_so, what, seconds)

    def kill_worker(self, run_dir: Path) -> None:
        """Kills a process that does a job, as soon as there is one."""
        wait_until(lambda: self.at_work(run_dir), "a job at work")
        kill([json.loads(self.at_work(run_dir)[0].read_text())["process"]])

    def start(self, run_dir: Path, *overrides: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / "log.txt").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pvrbench", "run", *SETTINGS, f"run_dir={run_dir}", *overrides],
                env={**os.environ, **RAY_ENV, "PVRBENCH_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", **(env or {})},
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def finish(self, process: subprocess.Popen[str], run_dir: Path) -> None:
        assert process.wait(timeout=600) == 0, (run_dir / "log.txt").read_text()[-3000:]

    @staticmethod
    def at_work(run_dir: Path) -> list[Path]:
        return sorted((run_dir / "running").glob("*.json"))

    @staticmethod
    def contents(run_dir: Path) -> dict[str, Any]:
        """Records without their timing, and digests of the policies."""
        records = {path.name: json.loads(path.read_text()) for path in sorted((run_dir / "records").glob("*.json"))}
        for record in records.values():
            for key in ("timing", "recorded_at"):
                del record[key]
        stored = [path for path in sorted((run_dir / "policies").iterdir()) if path.suffix != ".tmp"]
        return {**records, **{path.name: sha256(path.read_bytes()).hexdigest() for path in stored}}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def calm(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the undisturbed run of this machine alone leaves."""
    run_dir = tmp_path_factory.mktemp("calm")
    runs.finish(runs.start(run_dir, "engine.num_workers=1"), run_dir)
    return runs.contents(run_dir)
