"""A head of one's own: it acts as the demonstrations did at the frames nearest to what it sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pvrbench_example import NearestOptions
from torch import Tensor

from pvrbench.policies.base import Observation, TrainedPolicy, Training, TrainJob, options_of
from pvrbench.policies.spec import HeadSpec, TrainSettings


@dataclass(frozen=True, kw_only=True)
class NearestPolicy(TrainedPolicy):
    """The training frames, as one vector each, and their actions."""

    vectors: Tensor
    actions: Tensor

    def act(self, observation: Observation, states: Sequence[Any]) -> Tensor:
        """Mean action of the nearest frames, as a chunk of one; each row is compared by itself."""
        del states  # there is nothing to remember
        num_neighbours = options_of(self.spec, NearestOptions).num_neighbours
        rows = _vectors(observation.features, observation.proprio, self)
        nearest = [(self.vectors - row).square().sum(dim=1).topk(num_neighbours, largest=False) for row in rows]
        return torch.stack([self.actions[found.indices].mean(dim=0) for found in nearest])[:, None].clamp(-1, 1)

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """What is stored."""
        return {"vectors": self.vectors, "actions": self.actions}, {}


def _vectors(features: Tensor, proprio: Tensor, training: TrainedPolicy | TrainJob) -> list[Tensor]:
    readout = training.trained_readout
    read = [each[None] if readout is None else readout(each[None]) for each in features]
    return [torch.cat([each.flatten(), own]) for each, own in zip(read, proprio, strict=True)]


class NearestHead:
    """Keeps the frames of the demonstrations; nothing is trained."""

    def __init__(self, spec: HeadSpec) -> None:
        self.spec = spec

    def fit(
        self, job: TrainJob, settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0
    ) -> NearestPolicy:
        """Keeps the frames of a job."""
        del settings, num_checkpoints
        rows = torch.arange(len(job.features)) if job.rows is None else job.rows
        with torch.no_grad():
            vectors = torch.stack(_vectors(job.features[rows], job.proprio[rows], job))
        sizes = {"head": 0, "trained_readout": 0}
        training = Training(spec=self.spec, num_params=sizes, train_log={}, trained_readout=job.trained_readout)
        return NearestPolicy(training=training, vectors=vectors.to(device), actions=job.actions[rows].to(device))

    def restore(
        self, tensors: Mapping[str, Tensor], description: Mapping[str, Any], training: Training
    ) -> NearestPolicy:
        """A policy from what it exported."""
        del description
        return NearestPolicy(training=training, vectors=tensors["vectors"], actions=tensors["actions"])
