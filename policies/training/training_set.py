"""What one head learns from: rows of features that many heads share, scaled by the statistics of those rows alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pvrbench.policies.base import TrainJob, side_inputs
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.training.normalization import Scaling, action_scaling, input_scaling
from pvrbench.policies.training.tuning import random_shift, read_all


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The T transitions of one head.

    Attributes:
        features: of F frames, not scaled; shared by the heads that read them.
        rows: the frames of the transitions.
        proprio: of the transitions, scaled; the instruction stands behind it.
        actions: of the transitions, scaled.
        inputs: scaling of what enters the head, readout and proprioception one after the other.
        action_scaling: scaling of actions.
        feature_dim: width of the readout.
        is_read: whether features are a readout's vectors, rather than what a trainable readout reads.
        shift_px: pixels by which features, which then are pictures, are shifted at random.
    """

    features: Float[Tensor, "F ..."]
    rows: Int[Tensor, " T"]
    proprio: Float[Tensor, "T P"]
    actions: Float[Tensor, "T A"]
    inputs: Scaling
    action_scaling: Scaling
    feature_dim: int
    is_read: bool
    shift_px: int = 0

    def features_of(
        self, picked: Int[Tensor, " B"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "B ..."]:
        """Features of some transitions, scaled where they are a readout's, shifted where they are pictures."""
        features = self.features[self.rows[picked]]
        if not self.is_read:
            return random_shift(features, self.shift_px, generator)
        width = self.feature_dim
        return (features - self.inputs.mean[:width]) / self.inputs.std[:width]


def training_set(job: TrainJob, settings: TrainSettings, *, is_trained: bool, is_bounded: bool) -> TrainingSet:
    """The training set of a job.

    Args:
        job: the job, its tensors on one device.
        settings: how to scale.
        is_trained: whether its readout is trained with the head; else it is applied here, once.
        is_bounded: whether the head's means lie in [-1, 1].
    """
    readout = job.trained_readout
    rows = torch.arange(len(job.features), device=job.features.device) if job.rows is None else job.rows
    features, actions = job.features, job.actions[rows]
    proprio = side_inputs(job.proprio, job.instructions, use_proprio=settings.use_proprio)[rows]
    if readout is not None and job.tuning is not None:
        # The trained part of the encoder starts at the frozen one, whose features are what is scaled.
        vectors = read_all(readout, features, rows)
        feature_dim = vectors.shape[1]
        inputs = input_scaling(vectors, proprio, _kind(settings, has_components=job.tuning.has_components))
    elif readout is not None and is_trained:
        # The readout's output changes as it learns, so only proprioception is scaled beforehand.
        with torch.no_grad():
            feature_dim = readout(features[:1]).shape[1]
        inputs = input_scaling(proprio.new_zeros(len(rows), feature_dim), proprio, settings.input_norm)
    else:
        vectors = features[rows]
        if readout is not None:
            vectors = features = readout(vectors)
            rows = torch.arange(len(rows), device=rows.device)
        feature_dim = vectors.shape[1]
        inputs = input_scaling(vectors, proprio, _kind(settings, has_components=readout is not None))
    scaling = action_scaling(actions, settings.action_norm, is_bounded=is_bounded)
    return TrainingSet(
        features=features,
        rows=rows,
        proprio=(proprio - inputs.mean[feature_dim:]) / inputs.std[feature_dim:],
        actions=scaling.apply(actions),
        inputs=inputs,
        action_scaling=scaling,
        feature_dim=feature_dim,
        is_read=readout is None or not is_trained,
        shift_px=job.shift_px,
    )


def _kind(settings: TrainSettings, *, has_components: bool) -> Literal["batch", "standard", "global", "none"]:
    """How features are scaled: of principal components standardised one by one, the last are noise at full scale."""
    return "global" if has_components and settings.input_norm == "standard" else settings.input_norm


def jobs_on(jobs: Sequence[TrainJob], device: str) -> list[TrainJob]:
    """The jobs with all their tensors on a device, what they share there once; the caller's readouts stay."""
    if device == "cpu":
        return list(jobs)
    there = {
        id(part): part.to(device)
        for job in jobs
        for part in (job.features, job.proprio, job.actions, job.episodes, job.instructions, job.rows)
        if part is not None
    }
    return [
        replace(
            job,
            features=there[id(job.features)],
            proprio=there[id(job.proprio)],
            actions=there[id(job.actions)],
            episodes=there[id(job.episodes)],
            instructions=None if job.instructions is None else there[id(job.instructions)],
            rows=None if job.rows is None else there[id(job.rows)],
            trained_readout=None if job.trained_readout is None else copy.deepcopy(job.trained_readout).to(device),
        )
        for job in jobs
    ]
