"""The diffusion policy: what it learns, its noise, its average and its sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import HeadOptionError, TrainSettings
from pvrbench.policies.together import train_heads
from pvrbench.policies.training.modules import ModulePolicy

SETTINGS = TrainSettings(
    num_updates=600,
    batch_size=64,
    learning_rate=1e-3,
    optimizer="adamw",
    schedule="cosine",
    input_norm="standard",
    action_norm="standard",
    use_proprio=True,
)
SMALL = HEADS["diffusion"].with_options({"width": 128, "horizon": 4, "num_executed": 2})


def demonstrations(choices: torch.Tensor) -> TrainJob:
    """Demonstrations of eight steps with one constant action each; nothing is to be seen."""
    generator = torch.Generator().manual_seed(0)
    num_frames = 8 * len(choices)
    return TrainJob(
        features=torch.randn(num_frames, 6, generator=generator) * 0.01,
        proprio=torch.zeros(num_frames, 2),
        actions=choices.repeat_interleave(8)[:, None].repeat(1, 2),
        episodes=torch.arange(num_frames) // 8,
        seed=0,
    )


def test_both_ways_of_the_demonstrations_are_taken_and_never_their_mean() -> None:
    job = demonstrations(torch.tensor([0.5, -0.5] * 10))
    (policy,) = train_heads(SMALL, [job], replace(SETTINGS, input_norm="none"))
    states = [policy.start([0, row]) for row in range(40)]
    actions = policy.act(Observation(job.features[:40], job.proprio[:40]), states)
    assert actions.shape == (40, 2, 2)
    assert float((actions.abs() - 0.5).abs().mean()) < 0.1
    assert 8 < int((actions[:, 0, 0] > 0).sum()) < 32


def test_noise_is_that_of_the_episode_alone() -> None:
    job = demonstrations(torch.tensor([0.5, -0.5]))
    (policy,) = train_heads(SMALL, [job], replace(SETTINGS, num_updates=20))
    one = Observation(job.features[:1], job.proprio[:1])
    first, again, other = (policy.act(one, [policy.start([0, seed])]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = [policy.start([0, 1])]
    assert not torch.equal(policy.act(one, state), policy.act(one, state))


def test_checkpoints_readouts_and_sizes_are_its_own() -> None:
    job = replace(demonstrations(torch.tensor([0.5, -0.5])), trained_readout=nn.Linear(6, 5))
    (policy,) = train_heads(SMALL, [job], replace(SETTINGS, num_updates=30, input_norm="batch"), num_checkpoints=3)
    assert list(policy.checkpoints) == [10, 20]
    assert policy.num_params["trained_readout"] == 6 * 5 + 5
    assert isinstance(policy, ModulePolicy)
    assert policy.num_params["head"] == sum(part.numel() for part in policy.module.parameters())
    earlier = policy.checkpoints[10]
    assert isinstance(earlier, ModulePolicy)
    one = Observation(job.features[:1], job.proprio[:1])
    assert not torch.equal(policy.act(one, [policy.start([0])]), earlier.act(one, [earlier.start([0])]))
    assert policy.trained_readout is not job.trained_readout


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(HeadOptionError, match="num_executed=9 is more than horizon=8"):
        HEADS["diffusion"].with_options({"num_executed": 9})
    with pytest.raises(HeadOptionError, match="num_inference_steps=200 is more than num_train_steps=100"):
        HEADS["diffusion"].with_options({"num_inference_steps": 200})
