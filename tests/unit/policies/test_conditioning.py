"""Policies that are told what to do: beside the readout, and by FiLM on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pvrbench.policies.base import Observation, Policy, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.checks import SETTINGS
from pvrbench.policies.conditioning import Film, joined
from pvrbench.policies.storage import load_policy, save_policy
from pvrbench.policies.together import act_together, train_heads

NUM_FRAMES, FEATURE_DIM = 64, 8


def made_up(kind: str, embeddings: Tensor, seed: int = 0) -> tuple[TrainJob, Tensor]:
    """Demonstrations in which the same picture asks for opposite actions, and the instruction of each frame."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(NUM_FRAMES // 2, FEATURE_DIM, generator=generator).repeat(2, 1)
    sign = torch.tensor([1.0, -1.0]).repeat_interleave(NUM_FRAMES // 2)
    told = embeddings[(sign < 0).long()]
    film = None
    if kind == "film":
        film = Film(None, (FEATURE_DIM,), told.shape[1])
        film.fit_scaling(features)
    job = TrainJob(
        features=joined(features, told) if film else features,
        proprio=torch.zeros(NUM_FRAMES, 2),
        actions=torch.tanh(sign[:, None] * features[:, :3]),
        episodes=torch.arange(NUM_FRAMES) // 8,
        seed=seed,
        instructions=None if film else told,
        trained_readout=film,
    )
    return job, told


def observed(job: TrainJob) -> Observation:
    return Observation(job.features, job.proprio, job.instructions)


def error_of(policy: Policy, job: TrainJob) -> float:
    actions = policy.act(observed(job), [policy.start([0, row]) for row in range(NUM_FRAMES)])
    return float((actions[:, 0] - job.actions).abs().mean())


@pytest.mark.parametrize("kind", ["concat", "film"])
@pytest.mark.parametrize("head", ["mlp", "gmm"])
def test_an_instruction_decides_what_is_done_and_a_constant_one_cannot(head: str, kind: str) -> None:
    settings = replace(SETTINGS, num_updates=300, batch_size=32)
    told, blind = (made_up(kind, embeddings)[0] for embeddings in (torch.eye(2), torch.ones(2, 1)))
    errors = [error_of(train_heads(HEADS[head], [job], settings)[0], job) for job in (told, blind)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("kind", ["concat", "film"])
def test_an_instructed_policy_is_the_same_alone_in_company_and_from_its_file(kind: str, tmp_path: Path) -> None:
    jobs = [made_up(kind, torch.eye(2), seed)[0] for seed in range(3)]
    spec = HEADS["mlp"]
    together = train_heads(spec, jobs, SETTINGS)
    alone = train_heads(spec, [jobs[1]], SETTINGS)[0]
    rows = observed(jobs[1])
    states = [None] * NUM_FRAMES
    expected = alone.act(rows, states)
    assert torch.equal(together[1].act(rows, states), expected)
    found = act_together(together, [1] * NUM_FRAMES, rows, states)
    assert all(torch.equal(torch.from_numpy(one), other) for one, other in zip(found, expected, strict=True))
    save_policy(alone, tmp_path, "told")
    loaded = load_policy(tmp_path, "told", spec, Film(None, (FEATURE_DIM,), 2) if kind == "film" else None)
    assert torch.equal(loaded.act(rows, states), expected)


def test_film_starts_as_the_scaled_readout_and_reads_grids() -> None:
    torch.manual_seed(0)
    grid, told = torch.randn(5, 4, 3, 3), torch.eye(2)[[0, 1, 0, 1, 1]]
    film = Film(torch.nn.Flatten(), (4, 3, 3), 2)
    film.fit_scaling(grid)
    out = film(joined(grid, told))
    assert out.shape == (5, 36)
    torch.testing.assert_close(out, (grid.flatten(1) - grid.flatten(1).mean(0)) / film.std)


def test_an_embedding_that_is_not_finite_gives_a_failure() -> None:
    job, _ = made_up("concat", torch.tensor([[1.0], [torch.nan]]))
    (policy,) = train_heads(HEADS["mlp"], [job], SETTINGS)
    assert policy.failure is not None
    assert "instructions" in policy.failure
