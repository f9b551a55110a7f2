"""The simulator processes: what a crash, a hang or unstable physics costs."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.engine.simulator import Reply, SimulatorPool, SimulatorStartError
from pvrbench.envs.spec import TaskSpec

# A real task whose environment misbehaves at chosen reset seeds, as MuJoCo, a driver or the kernel may.
FAULTY = """
import os, pkgutil, time
from dataclasses import replace
from pvrbench.envs.base import SimulationError

class Faulty:
    def __init__(self, env):
        self.env = env
    def reset(self, seed):
        if seed == 666:
            os._exit(3)
        if seed == 667:
            time.sleep(1000)
        if seed == 668:
            raise SimulationError("the physics became unstable")
        return self.env.reset(seed)
    def __getattr__(self, name):
        return getattr(self.env, name)

class FaultyTask:
    def __init__(self, spec):
        self.spec = spec
        self.inner = pkgutil.resolve_name(spec.options["inner"])(spec)
    def make_env(self, view):
        return Faulty(self.inner.make_env(view))

def broken(spec):
    raise RuntimeError("no OpenGL here")
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskSpec:
    (tmp_path / "faulty_task.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = tasks()["metaworld/assembly-v3"]
    return replace(spec, entry_point="faulty_task:FaultyTask", options={**spec.options, "inner": spec.entry_point})


def receive(pool: SimulatorPool, count: int) -> dict[int, Reply]:
    replies: dict[int, Reply] = {}
    while len(replies) < count:
        replies.update({reply.slot: reply for reply in pool.receive()})
    return replies


def test_a_crash_loses_only_its_own_process(faulty: TaskSpec) -> None:
    with SimulatorPool(faulty, None, num_workers=2, envs_per_worker=1, hang_s=60.0) as pool:
        pool.reset(0, 666)
        pool.reset(1, 5)
        replies = receive(pool, 2)
        assert replies[0].lost
        assert replies[0].failure == "the simulator process ended with code 3"
        assert not replies[1].lost
        pool.reset(0, 5)
        again = receive(pool, 1)[0]
        np.testing.assert_array_equal(again.state, replies[1].state)


def test_a_hang_is_ended(faulty: TaskSpec) -> None:
    with SimulatorPool(faulty, None, num_workers=1, envs_per_worker=1, hang_s=4.0) as pool:
        pool.reset(0, 667)
        reply = receive(pool, 1)[0]
        assert reply.lost
        assert reply.failure == "no answer for 4 s"


def test_a_run_that_was_suspended_takes_no_simulator_to_hang(faulty: TaskSpec) -> None:
    with SimulatorPool(faulty, None, num_workers=1, envs_per_worker=1, hang_s=60.0) as pool:
        pool.reset(0, 5)
        receive(pool, 1)
        pool.hang_s = 3.0  # starting a process may take longer on a busy machine
        pid = pool._workers[0].process.pid  # pyright: ignore[reportPrivateUsage]
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        pool.reset(0, 6)
        # As after a suspension: much time has passed at once, in which neither process ran.
        time.sleep(4.0)
        assert pool.receive(_readable()) == []
        os.kill(pid, signal.SIGCONT)
        assert not receive(pool, 1)[0].lost


def _readable() -> int:
    """A file descriptor on which there is something to read."""
    reader, writer = os.pipe()
    os.write(writer, b"1")
    return reader


def test_unstable_physics_fails_the_episode_alone(faulty: TaskSpec) -> None:
    with SimulatorPool(faulty, None, num_workers=1, envs_per_worker=2, hang_s=60.0) as pool:
        pool.reset(0, 668)
        pool.reset(1, 5)
        replies = receive(pool, 2)
        assert replies[0].failure == "the physics became unstable"
        assert not replies[0].lost
        assert replies[1].failure is None


def test_an_environment_that_cannot_be_made_says_why(faulty: TaskSpec) -> None:
    with SimulatorPool(replace(faulty, entry_point="faulty_task:broken"), None, 1, 1, 60.0) as pool:
        pool.reset(0, 5)
        with pytest.raises(SimulatorStartError, match="no OpenGL here"):
            receive(pool, 1)


def test_no_process_outlives_the_pool(faulty: TaskSpec) -> None:
    with SimulatorPool(faulty, None, num_workers=2, envs_per_worker=1, hang_s=60.0) as pool:
        pool.reset(0, 5)
        receive(pool, 1)
        pids = [worker.process.pid for worker in pool._workers]  # pyright: ignore[reportPrivateUsage]
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
