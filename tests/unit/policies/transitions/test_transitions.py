"""Transition models on a world whose future is known: a point that is moved by its actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pvrbench.policies.transitions.base import Sequences, Transition, roll_out
from pvrbench.policies.transitions.cem import Array, plan
from pvrbench.policies.transitions.linear import train_linear
from pvrbench.policies.transitions.options import CemOptions, TransformerOptions
from pvrbench.policies.transitions.storage import StoredTransition, load_transition, save_transition
from pvrbench.policies.transitions.transformer import TransformerTransition, train_transformer

OPTIONS = TransformerOptions(
    width=32,
    num_layers=1,
    num_heads=2,
    history=2,
    rollout=2,
    num_updates=500,
    batch_size=32,
    learning_rate=3e-3,
    weight_decay=0.0,
)


def moved_points(num_episodes: int, seed: int) -> Sequences:
    """A point in the plane as two tokens of one number; an action block of two steps moves it by their sum."""
    generator = torch.Generator().manual_seed(seed)
    actions = 2 * torch.rand(num_episodes, 12, 4, generator=generator) - 1
    steps = 0.3 * (actions[..., :2] + actions[..., 2:])
    start = torch.randn(num_episodes, 1, 2, generator=generator)
    points = torch.cat([start, start + steps.cumsum(dim=1)], dim=1)
    return Sequences(points[..., None], actions)


@pytest.fixture(scope="module")
def transformer() -> TransformerTransition:
    return train_transformer(moved_points(40, 0), OPTIONS, seed=0)


def shares(model: Transition) -> Tensor:
    """Error of rollouts as a share of that of no change, by horizon."""
    test = moved_points(20, 1)
    first = model.history - 1
    predicted = roll_out(
        model, test.latents[:, : first + 1], test.actions[:, :first], test.actions[:, first : first + 6]
    )
    truth = test.latents[:, first + 1 : first + 7]
    error = (predicted - truth).square().mean(dim=(0, 2, 3)).sqrt()
    return error / (test.latents[:, first : first + 1] - truth).square().mean(dim=(0, 2, 3)).sqrt()


def test_both_models_learn_what_actions_do(transformer: TransformerTransition) -> None:
    assert shares(train_linear(moved_points(40, 0))).max() < 0.01
    assert shares(transformer).max() < 0.6


def test_the_same_seed_gives_the_same_model(transformer: TransformerTransition) -> None:
    short = OPTIONS.model_copy(update={"num_updates": 3})
    first, again, other = (train_transformer(moved_points(8, 0), short, seed).write.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_frame_sees_a_later_one(transformer: TransformerTransition) -> None:
    test = moved_points(3, 2)
    latents, actions = test.latents[:, :2], test.actions[:, :2]
    later = latents.clone()
    later[:, 1] += 1
    torch.testing.assert_close(transformer(latents, actions)[:, 0], transformer(later, actions)[:, 0])
    assert not torch.allclose(transformer(latents, actions)[:, 1], transformer(later, actions)[:, 1])


def test_a_stored_model_predicts_the_same_bits(transformer: TransformerTransition, tmp_path: Path) -> None:
    test = moved_points(3, 2)
    extra = {"mean": torch.ones(2)}
    for name, model, options in (("t", transformer, OPTIONS), ("l", train_linear(moved_points(8, 0)), None)):
        save_transition(StoredTransition(model, extra), tmp_path, name, (2, 1, 4), options)
        found = load_transition(tmp_path, name)
        assert found is not None
        assert torch.equal(found.extra["mean"], extra["mean"])
        inputs = test.latents[:, : model.history], test.actions[:, : model.history]
        assert torch.equal(found.model.predict(*inputs), model.predict(*inputs))
    (tmp_path / "t.safetensors").write_bytes(b"damaged")
    assert load_transition(tmp_path, "t") is None
    assert load_transition(tmp_path, "absent") is None


def test_the_planner_finds_the_way(transformer: TransformerTransition) -> None:
    goals = np.array([[0.8, -0.4], [-0.6, 0.9]])

    def cost(candidates: Array) -> Array:
        return ((0.6 * candidates.sum(axis=2) - goals[:, None]) ** 2).sum(axis=2)

    options = CemOptions(horizon=3, num_samples=64, num_iterations=6, elite_share=0.1, initial_std=0.6, executed=1)
    plans = [
        plan(cost, np.zeros((2, 3, 2)), options, [np.random.default_rng(seed) for seed in (0, 1)]) for _ in range(2)
    ]
    np.testing.assert_array_equal(plans[0], plans[1])
    np.testing.assert_allclose(0.6 * plans[0].sum(axis=1), goals, atol=0.1)
    assert np.abs(plans[0]).max() <= 1
