"""Policies that train a part of their encoder: their readouts, their training, and how many of them memory holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import nn

from pvrbench.benchmark.catalog import adaptations
from pvrbench.benchmark.engine.context import RunContext
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.hardware import available_mib
from pvrbench.benchmark.engine.instructed import conditioned
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.keys import FROZEN
from pvrbench.encoders.adaptation.base import AdaptationError
from pvrbench.encoders.adaptation.readout import AdaptedModule
from pvrbench.encoders.cost import training_bytes
from pvrbench.encoders.readouts.base import Readout
from pvrbench.policies.base import Policy, TrainJob
from pvrbench.policies.spec import Tuning

FLOAT_BYTES, MIB = 4, 2**20
# Shares of the free memory: for the networks of policies that act, and for training processes.
ACTING_SHARE, TRAINING_SHARE = 0.4, 0.7
# What a process takes that has imported torch.
PROCESS_MIB = 400
# Parameters, gradients and the optimiser's two averages.
COPIES_IN_TRAINING = 4


def readouts_of(job: Job, context: RunContext) -> dict[str, Readout]:
    """The readouts of a job by name; where the encoder is trained, its rest comes before them."""
    return {
        name: conditioned(context.encoders.readout(job.encoder, job.adaptation, spec), job)
        for name, spec in job.readouts.items()
    }


def whole_encoder(job: Job, context: RunContext, shared: TileEncoder) -> TileEncoder:
    """What is measured as the encoder's cost: the network as it is, whatever part of it policies share."""
    if job.adaptation.keeps_features:
        return shared
    return context.encoders.tiles(job.encoder, adaptations()[FROZEN], job.config.image_px, keep_raw=False)


def tuning_of(job: Job, module: nn.Module | None) -> Tuning | None:
    """How the trained part of an encoder is optimised; None where it is frozen."""
    if not isinstance(module, AdaptedModule):
        return None
    options: Mapping[str, object] = job.adaptation.options
    fitted = module.readout is not None and not any(True for _ in module.readout.parameters())
    return Tuning(
        **{name: float(str(options[name])) for name in ("learning_rate", "weight_decay", "warmup")},
        precision="bfloat16" if options.get("precision") == "bfloat16" else "float32",
        has_components=fitted,
    )


def shift_of(job: Job, readout: str) -> int:
    """Pixels by which training frames are shifted at random."""
    return int(job.adaptation.options.get("shift_px", 0)) or job.readouts[readout].shift_px


def adapted_params(policy: Policy) -> int:
    """Trained parameters of a policy's encoder."""
    module = policy.trained_readout
    return sum(part.numel() for part in module.encoder.parameters()) if isinstance(module, AdaptedModule) else 0


def pieces_of(job: Job, context: RunContext) -> Iterator[Job]:
    """The job in pieces of as many cells as memory holds networks of; whole where policies share one network.

    Raises:
        AdaptationError: not even one fits.
    """
    if job.adaptation.keeps_features:
        yield job
        return
    copies = 1 + job.config.checkpoint_evaluations
    each_mib = copies * job.encoder.num_params * FLOAT_BYTES / MIB
    free_mib = math.inf if context.engine.device != "cpu" else available_mib()
    fitting = len(job.cells) if free_mib == math.inf else int(ACTING_SHARE * free_mib / each_mib)
    if fitting < 1:
        raise _too_large(job, "a policy that acts", each_mib, ACTING_SHARE * free_mib)
    for start in range(0, len(job.cells), fitting):
        yield job.only(job.cells[start : start + fitting])


def most_processes(job: Job, context: RunContext, jobs: list[TrainJob]) -> int:
    """How many processes may train policies of a job at a time.

    Raises:
        AdaptationError: not even one fits.
    """
    if job.adaptation.keeps_features or context.engine.device != "cpu":
        return context.engine.num_workers
    first = jobs[0]
    module = first.trained_readout
    if not isinstance(module, AdaptedModule):
        return context.engine.num_workers
    frame = first.features[:1]
    batch_size = max(job.config.train_of(name).batch_size for name in job.heads)
    trained = sum(part.numel() for part in module.parameters())
    rows = max(len(first.features) if each.rows is None else len(each.rows) for each in jobs)
    # Frames are held by the table, by what is sent and by the process.
    frames_mib = rows * frame.numel() * FLOAT_BYTES / MIB
    needed_mib = (
        PROCESS_MIB
        + 2 * frames_mib
        + batch_size * training_bytes(module, frame) / MIB
        + (job.encoder.num_params + COPIES_IN_TRAINING * trained) * FLOAT_BYTES / MIB
    )
    free_mib = TRAINING_SHARE * available_mib()
    fitting = context.engine.num_workers if free_mib == math.inf else int(free_mib / needed_mib)
    if fitting < 1:
        raise _too_large(job, f"training with batches of {batch_size} frames", needed_mib, free_mib)
    return min(context.engine.num_workers, fitting)


def _too_large(job: Job, what: str, needed_mib: float, free_mib: float) -> AdaptationError:
    return AdaptationError(
        f"Adaptation {job.adaptation.name!r} of {job.encoder.name!r} needs about {needed_mib:.0f} MiB for {what}, and "
        f"{free_mib:.0f} MiB may be used here. Lower train.batch_size, use last_blocks, or take a smaller encoder."
    )
