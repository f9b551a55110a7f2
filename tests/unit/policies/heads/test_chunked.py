"""Action chunking: targets, mask, and the ensemble over time."""

from __future__ import annotations

import math

import pytest
import torch

from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.heads.chunked import ChunkedHead
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.together import train_heads
from pvrbench.policies.training.modules import action_chunks

SETTINGS = TrainSettings(
    num_updates=400,
    batch_size=32,
    learning_rate=3e-3,
    optimizer="adam",
    schedule="cosine",
    input_norm="none",
    action_norm="none",
    use_proprio=False,
)


def demonstrations() -> TrainJob:
    """Two demonstrations in which the feature is the time, and the action follows it."""
    time = torch.arange(12.0).repeat(2)[:, None] / 12
    episodes = torch.tensor([4] * 12 + [2] * 12)
    return TrainJob(
        features=torch.cat([time, 1 - time], dim=1),
        proprio=torch.zeros(24, 1),
        actions=torch.cat([time, -time], dim=1),
        episodes=episodes,
        seed=0,
    )


def test_a_chunk_ends_with_its_demonstration() -> None:
    actions, episodes = torch.arange(5.0)[:, None], torch.tensor([7, 7, 7, 3, 3])
    chunks, is_real = action_chunks(actions, episodes, 3)
    assert chunks[..., 0].tolist() == [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 4, 4], [4, 4, 4]]
    assert is_real.int().tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]


def test_actions_after_the_end_do_not_count() -> None:
    head = ChunkedHead(HEADS["chunked"].with_options({"chunk": 3}))
    network = head.network(2, 1, 0.0).requires_grad_(requires_grad=False)
    inputs = torch.randn(4, 2)
    actions = network(inputs).detach().view(4, 3, 1).clone()
    is_real = torch.tensor([[True, True, False]] * 4)
    actions[:, 2] += 100
    assert float(head.loss(network, inputs, actions, is_real)) == pytest.approx(0, abs=1e-6)
    actions[:, 0] += 1
    assert float(head.loss(network, inputs, actions, is_real)) == pytest.approx(0.5, abs=1e-6)


def test_the_ensemble_weighs_the_oldest_prediction_most() -> None:
    job = demonstrations()
    settings = {"chunk": 3, "ensemble_decay": 0.5}
    (ensembled,) = train_heads(HEADS["chunked"].with_options({**settings}), [job], SETTINGS)
    (whole,) = train_heads(HEADS["chunked"].with_options({**settings, "ensemble": False}), [job], SETTINGS)
    assert (ensembled.chunk, whole.chunk) == (1, 3)
    observations = [Observation(job.features[row : row + 1], job.proprio[row : row + 1]) for row in range(5)]
    chunks = [whole.act(each, [whole.start([0])])[0] for each in observations]
    states = [ensembled.start([0])]
    acted = [ensembled.act(each, states)[0, 0] for each in observations]
    weights = [math.exp(-0.5 * age) for age in range(3)]
    torch.testing.assert_close(acted[0], chunks[0][0])
    second = (weights[0] * chunks[0][1] + weights[1] * chunks[1][0]) / sum(weights[:2])
    torch.testing.assert_close(acted[1], second)
    last = sum(weights[age] * chunks[2 + age][2 - age] for age in range(3)) / sum(weights)
    torch.testing.assert_close(acted[4], last)


def test_a_chunk_is_what_the_demonstration_does_next() -> None:
    job = demonstrations()
    (policy,) = train_heads(HEADS["chunked"].with_options({"ensemble": False}), [job], SETTINGS)
    actions = policy.act(Observation(job.features[2:3], job.proprio[2:3]), [policy.start([0])])
    torch.testing.assert_close(actions[0], job.actions[2:10], atol=0.1, rtol=0)
