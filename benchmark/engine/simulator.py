"""Simulator processes: several environments each, frames in shared memory, crashes and hangs contained."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, UInt8

from pvrbench.common.reference import resolve
from pvrbench.envs.base import Array, Observation, SimulationError, Task, TaskEnv, handled_in
from pvrbench.envs.spec import TaskSpec, View

# Longest wait for an answer before the clock is read. A longer gap means that this process was suspended, stopped or in
# a debugger; the simulators mostly were, too.
TICK_S = 1.0

# Processes in a row that may end before they have an environment: one may be bad luck.
MAX_FAILED_STARTS = 1


class SimulatorStartError(RuntimeError):
    """An environment could not be made at all, or not reset; the text is the reason the simulator gave."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a slot answers to a reset or a step.

    Attributes:
        slot: which environment.
        success: whether the task is solved now; False after a reset.
        proprio: proprioception.
        state: privileged state.
        num_steps: control steps that were done: fewer than asked for where the episode came to its end before.
        handled: objects that were moved or touched in this episode, in order.
        failure: why the simulator gave up on this episode, if it did.
        lost: True where the process died or hung, so that the episode has to begin anew.
        is_cause: True where the process was at work for this slot when it did; its companions are not to blame.
    """

    slot: int
    success: bool
    proprio: Float32[Array, " P"]
    state: Float32[Array, " S"]
    num_steps: int = 0
    handled: tuple[str, ...] = ()
    failure: str | None = None
    lost: bool = False
    is_cause: bool = False


@dataclass(slots=True)
class _Worker:
    """A process and the slots whose answers are awaited, in the order in which it takes their commands.

    Each slot with the pool's time at which the wait began.
    """

    process: BaseProcess
    connection: Connection
    awaited: dict[int, float]
    has_env: bool = False


class SimulatorPool:
    """Environments of one task and view, spread over processes; a slot is one environment.

    Commands are sent to slots without waiting; `receive` gives the answers in the order in which they
    come. Use as a context manager.

    Args:
        task: the task.
        view: how images are made; None renders nothing.
        num_workers: processes.
        envs_per_worker: environments in each.
        hang_s: a process that leaves a command unanswered for so long is killed and replaced. Time in which this
            process did not run does not count.
    """

    def __init__(
        self, task: TaskSpec, view: View | None, num_workers: int, envs_per_worker: int, hang_s: float
    ) -> None:
        self.task, self.view, self.hang_s = task, view, hang_s
        self.num_slots = num_workers * envs_per_worker
        side = view.image_px if view else 0
        # Processes divide the cores among themselves; threads in each would only wait for one another.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._context = multiprocessing.get_context("spawn")
        self._memory: Any = self._context.RawArray("B", max(1, self.num_slots * side * side * 3))
        self.frames: UInt8[Array, "slots H W 3"] = _as_frames(self._memory, self.num_slots, side)
        self._workers = [self._start(index) for index in range(num_workers)]
        self._failed_starts = 0
        self._waited_s, self._looked_at = 0.0, time.monotonic()

    def __enter__(self) -> SimulatorPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.process.is_alive() and not worker.awaited:
                _try_send(worker.connection, None)
            else:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(timeout=10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()

    def reset(self, slot: int, seed: int) -> None:
        """Starts an episode in a slot."""
        self._send(slot, seed)

    def step(self, slot: int, actions: Float32[Array, "K A"], *, until_success: bool = True) -> None:
        """Applies some actions in a slot, one after another; the picture is that after the last of them.

        Args:
            slot: which environment.
            actions: the actions.
            until_success: whether the ones after a success are left out.
        """
        self._send(slot, (actions, until_success))

    def abandon(self) -> None:
        """Drops all that is under way, whose answers would be taken for those of the next episodes."""
        for index, worker in enumerate(self._workers):
            if worker.awaited:
                self._restart(index)

    def receive(self, signal: int | None = None) -> list[Reply]:
        """Waits for at least one answer and returns all that are there.

        Args:
            signal: a file descriptor; when it becomes readable the wait ends, with what answers there are.

        Raises:
            SimulatorStartError: an environment could not be made or reset.
        """
        watched = [] if signal is None else [signal]
        while True:
            replies: list[Reply] = []
            tick_s = min(TICK_S, self.hang_s / 10)
            ready = set(wait([*(worker.connection for worker in self._workers), *watched], timeout=tick_s))
            now = time.monotonic()
            self._waited_s += min(now - self._looked_at, 2 * tick_s)
            self._looked_at = now
            for index, worker in enumerate(self._workers):
                if worker.connection in ready:
                    replies += self._read(index)
                elif worker.awaited and self._waited_s - min(worker.awaited.values()) > self.hang_s:
                    replies += self._replace(index, f"no answer for {self.hang_s:.0f} s")
            if replies or signal in ready:
                return replies

    def _send(self, slot: int, command: object) -> None:
        # Neighbouring slots lie in different processes, so that few episodes are spread as well.
        worker = self._workers[slot % len(self._workers)]
        worker.awaited[slot] = self._waited_s
        _try_send(worker.connection, (slot, command))

    def _read(self, index: int) -> list[Reply]:
        worker = self._workers[index]
        replies: list[Reply] = []
        try:
            while worker.connection.poll():
                reply = worker.connection.recv()
                if isinstance(reply, str):
                    worker.awaited.clear()
                    self._restart(index)
                    raise SimulatorStartError(reply)
                if reply is None:
                    worker.has_env, self._failed_starts = True, 0
                    continue
                worker.awaited.pop(reply.slot, None)
                # Several environments share a process: while one is at work the others are not silent.
                worker.awaited = dict.fromkeys(worker.awaited, self._waited_s)
                replies.append(reply)
        except (EOFError, ConnectionResetError):
            worker.process.join(timeout=5)
            replies += self._replace(index, f"the simulator process ended with code {worker.process.exitcode}")
        return replies

    def _replace(self, index: int, reason: str) -> list[Reply]:
        worker = self._workers[index]
        self._restart(index)
        if not worker.has_env:
            self._failed_starts += 1
            if self._failed_starts > MAX_FAILED_STARTS:
                self._failed_starts = 0
                raise SimulatorStartError(
                    f"{reason} before it had an environment, {MAX_FAILED_STARTS + 1} times in a row. "
                    "Run `pvrbench doctor`, or leave each process more memory with engine.num_workers=1."
                )
        return [_lost(slot, reason, is_cause=slot == next(iter(worker.awaited))) for slot in worker.awaited]

    def _restart(self, index: int) -> None:
        worker = self._workers[index]
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self._workers[index] = self._start(index)

    def _start(self, index: int) -> _Worker:
        parent, child = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(child, self.task, self.view, self._memory, self.num_slots),
            daemon=True,
            name=f"simulator-{index}",
        )
        process.start()
        child.close()
        return _Worker(process, parent, {})


class SharedSimulators:
    """The running environments of a run: those of one task and view at a time, which neighbouring jobs share.

    Args:
        num_workers: processes.
        envs_per_worker: environments in each.
        hang_s: see `SimulatorPool`.
    """

    def __init__(self, num_workers: int, envs_per_worker: int, hang_s: float) -> None:
        self._sizes = (num_workers, envs_per_worker, hang_s)
        self._of: tuple[TaskSpec, View | None] | None = None
        self._pool: SimulatorPool | None = None

    def of(self, task: TaskSpec, view: View | None) -> SimulatorPool:
        """Environments of a task and view, started where others run or none."""
        if self._pool is None or self._of != (task, view):
            self.close()
            self._pool, self._of = SimulatorPool(task, view, *self._sizes), (task, view)
        return self._pool

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
        self._pool = self._of = None


def _as_frames(memory: Any, num_slots: int, side: int) -> UInt8[Array, "slots H W 3"]:
    count = num_slots * side * side * 3
    return np.frombuffer(memory, dtype=np.uint8, count=count).reshape(num_slots, side, side, 3)


def _try_send(connection: Connection, message: object) -> None:
    try:
        connection.send(message)
    except (BrokenPipeError, OSError):
        return  # the process has died; `receive` notices and replaces it


def _serve(connection: Connection, spec: TaskSpec, view: View | None, memory: Any, num_slots: int) -> None:
    """Body of a simulator process: answers resets and steps until told to end."""
    try:
        frames = _as_frames(memory, num_slots, view.image_px if view else 0)
        task = cast("Callable[[TaskSpec], Task]", resolve(spec.entry_point))(spec)
        envs: dict[int, TaskEnv] = {}
        while (message := _next(connection)) is not None:
            slot, command = message
            if isinstance(command, int) and slot not in envs:
                envs[slot] = task.make_env(view)
                connection.send(None)
            connection.send(_answer(envs, slot, command, frames))
        for env in envs.values():
            env.close()
    except KeyboardInterrupt:
        return
    except Exception as error:  # noqa: BLE001 - the process boundary: the parent raises it by name
        detail = traceback.format_exc(limit=-1).strip().splitlines()[-1]
        _try_send(connection, str(error) or detail)


def _next(connection: Connection) -> tuple[int, object] | None:
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError):
        return None  # the parent is gone


def _answer(envs: dict[int, TaskEnv], slot: int, command: object, frames: UInt8[Array, "slots H W 3"]) -> Reply:
    env = envs.get(slot)
    if env is None:
        # The episode began in a process that has ended since.
        return _lost(slot, "the simulator process ended", is_cause=False)
    num_steps = 0
    try:
        if isinstance(command, int):
            observation, success = env.reset(command), False
        else:
            actions, until_success = cast("tuple[Float32[Array, 'K A'], bool]", command)
            observation, success, num_steps = _step(env, actions, until_success)
    except SimulationError as error:
        return _failed(slot, str(error))
    except Exception as error:
        if isinstance(command, int):
            raise  # no policy is to blame for an environment that cannot be reset
        del envs[slot]
        return _failed(slot, f"{type(error).__name__}: {error}")
    if frames.size:
        frames[slot] = observation["image"]
    return Reply(
        slot=slot,
        success=success,
        proprio=observation["proprio"],
        state=observation["state"],
        num_steps=num_steps,
        handled=handled_in(env),
    )


def _step(
    env: TaskEnv,
    actions: Float32[Array, "K A"],
    until_success: bool,  # noqa: FBT001 - as it comes from the pipe
) -> tuple[Observation, bool, int]:
    """Observation, success and number of steps after some actions."""
    result, num_steps = env.step(actions[0]), 1
    for action in actions[1:]:
        if result.success and until_success:
            break
        result, num_steps = env.step(action), num_steps + 1
    return result.observation, result.success, num_steps


def _failed(slot: int, reason: str) -> Reply:
    nothing = np.zeros(0, np.float32)
    return Reply(slot=slot, success=False, proprio=nothing, state=nothing, failure=reason)


def _lost(slot: int, reason: str, *, is_cause: bool) -> Reply:
    return replace(_failed(slot, reason), lost=True, is_cause=is_cause)
