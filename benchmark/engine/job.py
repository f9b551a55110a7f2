"""One job: demonstrations, features, policies and episodes of cells that share task, place and encoder."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping

from pvrbench.benchmark.engine.adapted import pieces_of, readouts_of, whole_encoder
from pvrbench.benchmark.engine.context import RunContext, load_task
from pvrbench.benchmark.engine.evaluation import Recorder, evaluate_cells
from pvrbench.benchmark.engine.expert import record_expert
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.heartbeat import heartbeat
from pvrbench.benchmark.engine.identity import demonstrations_of, digests_of, policy_digest
from pvrbench.benchmark.engine.policy_store import PolicyStoreError
from pvrbench.benchmark.engine.result import JobResult, summed
from pvrbench.benchmark.engine.training import features_of, train
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Digests
from pvrbench.benchmark.records.state import ERRORS
from pvrbench.common.files import describe_os_error, write_atomically
from pvrbench.envs.demos.demo_union import Demonstrations
from pvrbench.policies.base import Policy


def run_job(job: Job, context: RunContext) -> JobResult:
    """Does a job; a fault ends this job alone, with its traceback in `errors` of the run's folder."""
    parts: list[JobResult] = []
    try:
        with heartbeat(context.records.run_dir, job.cells[0].slug, job.name):
            for piece in pieces_of(job, context):
                _run(piece, context, parts)
    except Exception as error:  # noqa: BLE001 - the boundary at which one job's failure ends
        reason = (describe_os_error(error) if isinstance(error, OSError) else f"{error}") or type(error).__name__
        path = context.records.run_dir / ERRORS / f"{job.cells[0].slug}.txt"
        context.listener.say(f"failed: {job.name}: {reason}")
        try:
            write_atomically(path, traceback.format_exc())
        except OSError as unwritten:
            context.listener.say(f"warning: its traceback is not kept. {describe_os_error(unwritten)}")
        parts.append(JobResult(errors={job.name: reason}))
    return summed(parts)


def _run(job: Job, context: RunContext, parts: list[JobResult]) -> None:
    """Does a job, and says in `parts` what it did so far."""
    if job.encoder.modality == "expert":
        parts.append(JobResult(num_recorded=record_expert(job, context)))
        return
    task = load_task(job.task)
    states = task.initial_states(job.cells[0].split, job.config.num_episodes)
    # A stored policy keeps the demonstrations that it learnt from; those of today are not asked for.
    before = {cell: context.trained[cell.train] for cell in job.cells if cell.train in context.trained}
    demos = None if len(before) == len(job.cells) else demonstrations_of(job, context, task)
    digests = digests_of(job, context, states, demos)
    keep_raw = not job.adaptation.keeps_features or any(job.readouts[cell.readout].raw_grid for cell in job.cells)
    encoder = context.encoders.tiles(job.encoder, job.adaptation, job.config.image_px, keep_raw=keep_raw)
    facts = context.encoders.facts(whole_encoder(job, context, encoder), job.config.image_px)
    for cell in job.cells:
        trained = before[cell].digests if cell in before else digests[cell]
        policy = trained.policy or policy_digest(job, cell, trained, encoder)
        digests[cell] = digests[cell].model_copy(update={"demos": trained.demos, "policy": policy})
    policies, timing = _policies(job, context, encoder, demos, digests, parts)
    recorder = Recorder(
        context=context,
        job=job,
        encoder=encoder,
        facts=facts,
        digests=digests,
        policies=policies,
        demos=before[job.cells[0]].provenance.demos if demos is None else demos.manifest.summary(),
        timing=timing,
    )
    try:
        evaluate_cells(job, context, states, recorder)
    finally:
        num_recorded = len(recorder.written) - recorder.num_unfinished
        parts.append(JobResult(num_recorded=num_recorded, failed=dict(recorder.given_up)))


def _policies(
    job: Job,
    context: RunContext,
    encoder: TileEncoder,
    demos: Demonstrations | None,
    digests: Mapping[Cell, Digests],
    parts: list[JobResult],
) -> tuple[dict[Cell, Policy], dict[Cell, dict[str, float]]]:
    """The policies of a job, stored ones and those trained now, and the seconds that training took."""
    started = time.monotonic()
    policies: dict[Cell, Policy] = {}
    # Checkpoints are not stored, so who evaluates them trains again.
    if job.needs_policies or not job.config.checkpoint_evaluations:
        readouts = readouts_of(job, context)
        for cell in job.cells:
            head, readout = job.heads[cell.head], readouts[cell.readout]
            policy = context.policies.load(digests[cell].policy, head, readout, is_needed=job.needs_policies)
            if policy is not None:
                policies[cell] = policy
    parts.append(JobResult(policies_loaded=len(policies)))
    missing = [cell for cell in job.cells if cell not in policies]
    if not missing:
        return policies, {}
    if job.needs_policies or demos is None:
        raise PolicyStoreError(
            f"The policy of {missing[0].slug} is not in {context.policies.folder}: its run did not keep policies, or "
            "has not trained this one. Give the command of that run again."
        )
    left = job.only(missing)
    features = features_of(left, context, encoder, demos)
    num_frames = sum(demos.length(index) for index in features)
    parts.append(JobResult(frames_encoded=encoder.num_encoded, frames_cached=num_frames - encoder.num_encoded))
    shared = {"job_prepare_s": time.monotonic() - started, "job_frames_encoded": float(encoder.num_encoded)}
    timing: dict[Cell, dict[str, float]] = {}
    for cell, found in train(left, context, demos, features).items():
        policies[cell], timing[cell] = found.policy, {**shared, "train_s": found.seconds}
        if job.config.engine.keep_policies and found.policy.failure is None:
            context.policies.save(digests[cell].policy, found.policy, cell, found.feature_shape, job.config.budget_dim)
    return policies, timing
