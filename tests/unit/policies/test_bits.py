"""Weights and actions of MLPs and mixtures stay what they were when the first results were recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import Regularisation, TrainSettings
from pvrbench.policies.together import act_together, train_heads
from pvrbench.policies.training.network_policy import NetworkPolicy

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "head_bits.json").read_text())

SETTINGS = TrainSettings(
    num_updates=40,
    batch_size=16,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch_norm": {"input_norm": "batch", "schedule": "cosine"},
    "adamw_global": {"input_norm": "global", "optimizer": "adamw", "action_norm": "standard"},
    "readout": {"action_norm": "standard"},
    "odd": {"batch_size": 33},
}


class FixedNoise:
    """An episode's generator that draws one row of numbers."""

    def __init__(self, row: Tensor) -> None:
        self.row = row.numpy()

    def random(self, size: int, dtype: type) -> np.ndarray[Any, Any]:
        return self.row[:size].astype(dtype)


def job(seed: int, num_frames: int, feature_dim: int) -> TrainJob:
    generator = torch.Generator().manual_seed(100 + seed)
    features = torch.randn(num_frames, feature_dim, generator=generator)
    proprio = torch.randn(num_frames, 4, generator=generator)
    actions = torch.tanh(features[:, :3] + 0.5 * proprio[:, :3])
    episodes = torch.zeros(num_frames, dtype=torch.long)
    return TrainJob(features=features, proprio=proprio, actions=actions, episodes=episodes, seed=seed)


def digest(parts: Sequence[Tensor]) -> str:
    return hashlib.sha256(b"".join(part.detach().contiguous().numpy().tobytes() for part in parts)).hexdigest()[:16]


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_weights_and_actions_are_those_of_the_recorded_results(case: str) -> None:
    name, kind = case.split("/")
    feature_dim = 29 if kind == "odd" else 24
    jobs = [
        replace(
            job(seed, num_frames, feature_dim),
            regularisation=Regularisation(dropout=dropout, weight_decay=dropout / 10),
        )
        for seed, num_frames, dropout in ((0, 30, 0.0), (1, 60, 0.1), (2, 45, 0.3))
    ]
    if kind == "readout":
        for position in range(3):
            torch.manual_seed(position)
            jobs[position] = replace(jobs[position], trained_readout=nn.Linear(24, 16))
    policies = train_heads(HEADS[name], jobs, replace(SETTINGS, **CHANGES[kind]))
    parts: list[Tensor] = []
    for policy in policies:
        assert isinstance(policy, NetworkPolicy)
        parts += [part for layer in policy.layers for part in (layer.weight, layer.bias)]
        parts += [] if policy.batch_norm is None else [policy.batch_norm.scale, policy.batch_norm.shift]
        parts += [] if policy.trained_readout is None else list(policy.trained_readout.parameters())
    probe = job(9, 41, feature_dim)
    noise = torch.rand(41, 4 if name == "gmm_sampled" else 0, generator=torch.Generator().manual_seed(7))
    observation = Observation(probe.features, probe.proprio)
    found = act_together(policies, [row % 3 for row in range(41)], observation, [FixedNoise(row) for row in noise])
    actions = torch.from_numpy(np.concatenate(found))
    golden = GOLDEN["cases"][case]
    assert [policy.train_log["final_loss"] for policy in policies] == pytest.approx(golden["final_losses"], rel=1e-3)
    assert float(actions.mean()) == pytest.approx(golden["mean_action"], abs=1e-3)
    if (torch.__version__, torch.backends.cpu.get_cpu_capability()) == (GOLDEN["torch"], GOLDEN["cpu"]):
        assert digest(parts) == golden["weights"]
        assert digest([actions]) == golden["actions"]
