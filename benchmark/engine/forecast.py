"""What a plan will cost, before it runs: frames, time and disk, corrected by how earlier runs of this machine went."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pvrbench.benchmark.config import ConfigError
from pvrbench.benchmark.engine.hardware import ENV_MIB, PROCESS_MIB
from pvrbench.benchmark.plan import Job, Plan
from pvrbench.benchmark.records.keys import Cell
from pvrbench.common.files import write_atomically
from pvrbench.envs.spec import TaskSpec

# Seconds on one core of a 2026 server without a GPU; a machine's own factor corrects them.
STEP_S: Mapping[str, float] = {"metaworld": 0.0016, "robosuite": 0.012}
FRAME_S: Mapping[tuple[str, str], float] = {
    ("metaworld", "lean"): 0.005,
    ("metaworld", "full"): 0.115,
    ("robosuite", "lean"): 0.0115,
    ("robosuite", "full"): 0.05,
}
REFERENCE_PX, PX_EXPONENT = 112, 0.6
FLOP_PER_S = 2.5e10
# Training of heads: what each update takes, and the operations of one that grow with a head's width and batch.
UPDATE_S, HEAD_FLOP_PER_S = 0.0004, 9e10
# Of the network trained end to end, for each picture of a batch.
CNN_PICTURE_S = 0.0024
START_S = 8.0

# Share of the horizon that an episode which ends at success, and a demonstration, usually last.
EPISODE_SHARE, DEMO_SHARE = 0.65, 0.45
FLOAT_BYTES, INDEX_BYTES = 4, 8
# Numbers that gradients need of one frame, over its operations divided by the width of the network. A transformer block
# keeps about 16 numbers a channel and token, and takes 24 operations a squared channel and token. Measured of zoo_mae:
# 3.7 MiB a frame, as this says.
KEPT_SHARE = 0.67
# Memory of the process that trains and encodes, without its encoder; and an encoder in use against its parameters.
TRAINER_MIB, ENCODER_FACTOR = 3000, 4
# Of a stored policy beside its numbers: the JSON file and the header of the other.
POLICY_NOTE_BYTES = 3500


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected.

    Attributes:
        demo_frames: demonstration frames that may have to be rendered and encoded, at most.
        rollout_frames: frames of all episodes, expected.
        seconds: expected duration on all cores, nothing being cached.
        most_seconds: where every episode fails.
        disk_bytes: frames and features that the cache may take.
        policy_bytes: stored policies of the run, without what adaptations change in the encoder; 0 where none are kept
            or none are trained.
    """

    demo_frames: int
    rollout_frames: int
    seconds: float
    most_seconds: float
    disk_bytes: int
    policy_bytes: int


@dataclass(frozen=True, slots=True)
class JobsForecast:
    """What is to be expected of jobs that a cluster does side by side.

    Attributes:
        seconds: expected duration of all jobs one after another, on the cores of one job.
        longest_s: expected duration of the longest.
        most_s: that of the longest where every episode fails.
    """

    seconds: float
    longest_s: float
    most_s: float

    def wall_s(self, parallel: int) -> float:
        """Expected time from first to last where so many jobs run at once."""
        return max(self.longest_s, self.seconds / parallel)


def forecast_jobs(plan: Plan, num_cores: int, factor: float = 1.0) -> JobsForecast:
    """Forecasts the jobs of a plan one by one, for machines that each do one; demonstrations are there before them.

    Args:
        plan: the plan.
        num_cores: cores of each job.
        factor: as for `forecast`.
    """
    found = [forecast(Plan(plan.config, (job,), ()), num_cores, factor, collects_demos=False) for job in plan.jobs]
    return JobsForecast(
        seconds=sum(each.seconds for each in found),
        longest_s=max(each.seconds for each in found),
        most_s=max(each.most_seconds for each in found),
    )


def forecast(plan: Plan, num_cores: int, factor: float = 1.0, *, collects_demos: bool = True) -> Forecast:
    """Forecasts a plan.

    Args:
        plan: the plan.
        num_cores: cores to run on.
        factor: how much longer this machine has taken than forecast, see `learned_factor`.
        collects_demos: whether demonstrations are collected first.
    """
    demo_frames = rollout_frames = disk_bytes = 0
    demo_s = expected_s = most_s = 0.0
    share = 1.0 if plan.config.success_rule == "last_step" else EPISODE_SHARE
    for job in plan.jobs:
        episodes = len(job.cells) * plan.config.num_episodes
        frames = _demo_frames(plan, job)
        step_s = _step_s(job)
        demo_frames += frames
        rollout_frames += round(episodes * job.horizon * share)
        demo_s += frames * step_s + sum(
            plan.config.train_of(cell.head).num_updates * _update_s(plan, job, cell) for cell in job.cells
        )
        expected_s += episodes * job.horizon * share * step_s
        most_s += episodes * job.horizon * step_s
        disk_bytes += _disk_bytes(job, frames)
    # Demonstrations of a task are collected once, by one process.
    collecting_s = sum(
        plan.config.demo_pool * task.horizon * _demo_share(task) * STEP_S.get(task.name.partition("/")[0], 0.01)
        for task in {job.task.name: job.task for job in plan.jobs}.values()
    )
    fixed_s = START_S + collecting_s * collects_demos + demo_s / num_cores
    return Forecast(
        demo_frames=demo_frames,
        rollout_frames=rollout_frames,
        seconds=factor * (fixed_s + expected_s / num_cores),
        most_seconds=factor * (fixed_s + most_s / num_cores),
        disk_bytes=disk_bytes,
        policy_bytes=_policy_bytes(plan),
    )


def _policy_bytes(plan: Plan) -> int:
    """Bytes of all stored policies: weights, scaling of the inputs, and what lies between features and head.

    What an adaptation changes in the encoder is not counted: rows do not tell its size.
    """
    if not plan.config.engine.keep_policies:
        return 0
    # A policy that is tried in several places is stored once.
    trained = {
        cell.train: (job, cell)
        for job in plan.jobs
        if not job.needs_policies and job.encoder.modality != "expert"
        for cell in job.cells
    }
    budget_dim = plan.config.budget_dim
    return sum(
        POLICY_NOTE_BYTES
        + FLOAT_BYTES
        * (
            _num_weights(plan, job, cell)
            + 2 * _num_inputs(plan, job, cell)
            + job.readouts[cell.readout].num_weights(job.encoder, budget_dim)
        )
        for job, cell in trained.values()
    )


def _demo_frames(plan: Plan, job: Job) -> int:
    used = min(plan.config.demo_pool, max(plan.config.num_demos) * len(plan.config.seeds))
    return round(used * job.task.horizon * _demo_share(job.task))


def _demo_share(task: TaskSpec) -> float:
    """Share of the horizon that a demonstration lasts."""
    return 1.0 if task.demo_end.rule == "full_horizon" else DEMO_SHARE


def _step_s(job: Job) -> float:
    """Seconds of one core for one control step, its picture and its features."""
    suite = job.task.name.partition("/")[0]
    seconds = STEP_S.get(suite, 0.01)
    if job.view is not None:
        size = (job.view.image_px / REFERENCE_PX) ** PX_EXPONENT
        seconds += FRAME_S.get((suite, job.view.render), 0.05) * size + _flop(job) / FLOP_PER_S
    return seconds


def _update_s(plan: Plan, job: Job, cell: Cell) -> float:
    """Seconds of one core for one update of one head: forward and backward take six operations for each weight."""
    batch_size = plan.config.train_of(cell.head).batch_size
    pictures = batch_size if job.readouts[cell.readout].trains_on_pixels else 0
    encoder_s = job.adaptation.update_cost * batch_size * _flop(job) / FLOP_PER_S
    head_s = 6 * batch_size * _num_weights(plan, job, cell) / HEAD_FLOP_PER_S
    return UPDATE_S + head_s + CNN_PICTURE_S * pictures + encoder_s


def _num_inputs(plan: Plan, job: Job, cell: Cell) -> int:
    if job.encoder.modality == "state":
        num_inputs = job.task.state_dim
    else:
        num_inputs = job.readouts[cell.readout].output_dim(job.encoder, plan.config.budget_dim)
    num_inputs *= plan.config.history if plan.config.fusion == "concat" else 1
    return num_inputs + job.task.proprio_dim


def _num_weights(plan: Plan, job: Job, cell: Cell) -> int:
    return job.heads[cell.head].options.num_weights(_num_inputs(plan, job, cell), job.task.action_dim)


def memory_bytes(plan: Plan, workers: int, envs: int) -> int:
    """Memory of all processes of a run, at most.

    Args:
        plan: the plan.
        workers: simulator processes.
        envs: environments in each of them.
    """
    encoder = ENCODER_FACTOR * FLOAT_BYTES * max(job.encoder.num_params for job in plan.jobs)
    training = max((max(_training_bytes(plan, job).values()) for job in plan.jobs if not job.needs_policies), default=0)
    return 2**20 * (workers * (PROCESS_MIB + envs * ENV_MIB) + TRAINER_MIB) + encoder + training


def _training_bytes(plan: Plan, job: Job) -> Counter[tuple[str, str]]:
    """What the training of a job's policies takes, by readout and head: those of one readout are trained at a time.

    Each has its weights, their gradients and two moments, the rows of all its batches, and one batch of inputs.
    """
    needs: Counter[tuple[str, str]] = Counter()
    for cell in job.cells:
        train = plan.config.train_of(cell.head)
        rows = INDEX_BYTES * train.num_updates * train.batch_size
        inputs = FLOAT_BYTES * train.batch_size * _num_inputs(plan, job, cell)
        needs[cell.readout, cell.head] += rows + inputs + 4 * FLOAT_BYTES * _num_weights(plan, job, cell)
    return needs


def check_training_memory(plan: Plan, memory_mib: float) -> None:
    """Refuses a plan whose policies cannot be trained in the memory of this machine; it would die hours into the run.

    Policies that are stored already need none of it.

    Args:
        plan: the plan.
        memory_mib: memory that is free.

    Raises:
        ConfigError: the memory does not suffice.
    """
    for job in plan.jobs:
        if job.needs_policies:
            continue
        if not job.adaptation.keeps_features:
            _check_adaptation_memory(plan, job, memory_mib)
        (readout, head), needed = _training_bytes(plan, job).most_common(1)[0]
        if needed / 2**20 > memory_mib:
            train = plan.config.train_of(head)
            raise ConfigError(
                f"Training {head} on {job.encoder.name}, {readout} takes about {needed / 2**30:,.0f} GiB of memory, "
                f"and {memory_mib / 2**10:,.0f} GiB are free. It has train.batch_size={train.batch_size}, "
                f"train.num_updates={train.num_updates} and options {job.heads[head].options.model_dump(mode='json')}; "
                "make these smaller, or ask for fewer seeds in one run."
            )


def _check_adaptation_memory(plan: Plan, job: Job, memory_mib: float) -> None:
    """Refuses an adaptation of which not even one policy can be trained in the memory.

    An estimate from the row alone. What gradients need is known of plain transformers, which are the rows with a class
    token; of other networks the run measures a frame before it trains.
    """
    spec = job.encoder
    batch_size = max(plan.config.train_of(cell.head).batch_size for cell in job.cells)
    is_known = job.adaptation.is_whole_network and "class_token" in spec.outputs
    kept = KEPT_SHARE * _flop(job) / spec.feature_dim if is_known else 0.0
    # A trained parameter has a gradient and two moments.
    copies = 4 if job.adaptation.trains_all else 1
    needed = FLOAT_BYTES * (batch_size * kept + copies * spec.num_params)
    if needed / 2**20 > memory_mib:
        raise ConfigError(
            f"Adaptation {job.adaptation.name!r} of {spec.name!r} takes about {needed / 2**30:,.0f} GiB of memory for "
            f"batches of {batch_size} frames, and {memory_mib / 2**10:,.0f} GiB are free. Lower train.batch_size, use "
            "last_blocks, or take a smaller encoder."
        )


def _flop(job: Job) -> float:
    """Operations for a frame, from what the row tells: every parameter works once for each token of the grid."""
    spec = job.encoder
    return 2.0 * spec.num_params * max(1, spec.grid_side**2)


def _disk_bytes(job: Job, frames: int) -> int:
    if job.view is None:
        return 0
    spec = job.encoder
    if not job.adaptation.keeps_features and job.adaptation.is_whole_network:
        # What is kept are the pixels that the network reads.
        return frames * 3 * (job.view.image_px**2 + FLOAT_BYTES * spec.image_size**2)
    raw = not job.adaptation.keeps_features or any(job.readouts[cell.readout].raw_grid for cell in job.cells)
    side = spec.grid_side if raw else min(spec.grid_side, 7)
    return frames * (job.view.image_px**2 * 3 + FLOAT_BYTES * spec.feature_dim * (1 + side**2))


def learned_factor(cache_dir: Path, executor: str = "local") -> float:
    """How much longer runs of an executor have taken than the rates above say; 1 before the first."""
    try:
        factor = float(json.loads(_speed_path(cache_dir, executor).read_text())["factor"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1.0
    return factor if 0.01 < factor < 100 else 1.0


def _speed_path(cache_dir: Path, executor: str) -> Path:
    return cache_dir / ("speed.json" if executor == "local" else f"speed-{executor}.json")


def learn(cache_dir: Path, expected: Forecast | JobsForecast, seconds: float, executor: str = "local") -> float:
    """Takes note of how long a whole run took, where the cache can be written, and returns the new factor.

    Args:
        cache_dir: root of what is kept between runs.
        expected: the forecast that was made for it.
        seconds: what it took.
        executor: where it was done.
    """
    old = learned_factor(cache_dir, executor)
    # Half way: one slow day should not spoil the next forecast.
    factor = old * (seconds / expected.seconds) ** 0.5
    with suppress(OSError):  # results are worth more than the next forecast
        write_atomically(_speed_path(cache_dir, executor), json.dumps({"factor": round(factor, 3)}) + "\n")
    return factor


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(num_bytes: int) -> str:
    """`0.4 MiB` or `3.5 GiB`."""
    return f"{num_bytes / 2**20:.1f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"
