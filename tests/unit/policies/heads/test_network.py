"""Outputs of heads against robomimic's numbers and torch's distributions."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributions

from pvrbench.policies.catalog import HEADS
from pvrbench.policies.heads.gmm import Mixture, MixtureHead
from pvrbench.policies.heads.mlp import MlpHead
from pvrbench.policies.heads.network import Layer, forward

# Numbers of robomimic's BC and BC_GMM on the weights and the batch that `layers` and `batch` draw again.
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[3] / "golden" / "heads.json").read_text())

NUM_MODES = 5
MIXTURE = Mixture(num_modes=NUM_MODES, min_std=1e-4, act_rule="sampled_mode")


def layers(*widths: int, seed: int) -> list[Layer]:
    generator = np.random.default_rng(seed)
    drawn = [
        (generator.normal(0, 0.4, shape).astype("f4"), generator.normal(0, 0.4, shape[1:]).astype("f4"))
        for shape in pairwise(widths)
    ]
    return [Layer(torch.from_numpy(weight)[None], torch.from_numpy(bias)[None, None]) for weight, bias in drawn]


def batch() -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(9, 12)).astype("f4")
    actions = generator.uniform(-1, 1, (9, 3)).astype("f4")
    return torch.from_numpy(inputs)[None], torch.from_numpy(actions)[None]


def close(found: Tensor, expected: object) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=2e-5, atol=2e-6)


def test_the_loss_of_a_squashed_mlp_is_that_of_robomimic() -> None:
    inputs, actions = batch()
    outputs = forward(layers(12, 16, 16, 3, seed=1), inputs, torch.relu)
    output = MlpHead(HEADS["mlp_squashed"]).output
    close(output.loss(outputs, actions)[0], GOLDEN["bc"]["l2_loss"])
    close(output.act(outputs[0], [None] * 9), GOLDEN["bc"]["actions"])


def test_the_loss_of_a_mixture_is_that_of_robomimic() -> None:
    inputs, actions = batch()
    outputs = forward(layers(12, 16, 16, NUM_MODES * 7, seed=2), inputs, torch.relu)
    golden = GOLDEN["bc_gmm"]
    close(MixtureHead(HEADS["gmm"]).output.loss(outputs, actions)[0], golden["action_loss"])
    close(MIXTURE.log_prob(outputs[0], actions[0]), golden["log_probs"])
    means, stds, log_weights = MIXTURE.parameters(outputs[0])
    close(means, golden["means"])
    close(stds, golden["stds"])
    close(log_weights.exp(), golden["weights"])


def test_sampling_is_that_of_torch_at_low_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(1, NUM_MODES * 7, generator=generator)
    means, _, log_weights = MIXTURE.parameters(outputs)
    drawn = MIXTURE.act(outputs.expand(40_000, -1), [np.random.default_rng(0)] * 40_000)
    reference = distributions.MixtureSameFamily(
        distributions.Categorical(logits=log_weights),
        distributions.Independent(distributions.Normal(means, torch.full_like(means, 1e-4)), 1),
    )
    torch.testing.assert_close(drawn.mean(dim=0), reference.mean[0], atol=0.015, rtol=0)
    torch.testing.assert_close(drawn.var(dim=0), reference.variance[0], atol=0.015, rtol=0)
    # Within a mode: the spread is robomimic's, the nearest mode's mean the centre.
    nearest = (drawn[:, None] - means).square().sum(dim=-1).argmin(dim=1)
    spread = (drawn - means[0, nearest]).std()
    assert float(spread) == pytest.approx(GOLDEN["bc_gmm"]["low_noise_std"], rel=0.02)


def test_the_loss_is_the_negative_log_likelihood_of_torch() -> None:
    generator = torch.Generator().manual_seed(5)
    outputs = torch.randn(2, 50, MIXTURE.width(3), generator=generator)
    actions = torch.rand(2, 50, 3, generator=generator) * 2 - 1
    means, stds, log_weights = MIXTURE.parameters(outputs)
    theirs = distributions.MixtureSameFamily(
        distributions.Categorical(logits=log_weights),
        distributions.Independent(distributions.Normal(means, stds), 1),
    )
    torch.testing.assert_close(MIXTURE.log_prob(outputs, actions), theirs.log_prob(actions))
    torch.testing.assert_close(MIXTURE.loss(outputs, actions), -theirs.log_prob(actions).mean(dim=1))


def test_sampled_modes_come_as_often_as_their_weights() -> None:
    outputs = torch.zeros(1, 5 * 7)
    outputs[0, :15] = torch.linspace(-2, 2, 5).repeat_interleave(3)
    outputs[0, 30:] = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25]).log()
    states = [np.random.default_rng([0, row]) for row in range(20_000)]
    actions = MIXTURE.act(outputs.expand(20_000, -1), states)
    means = torch.tanh(torch.linspace(-2, 2, 5))
    shares = torch.stack([((actions[:, 0] - mean).abs() < 0.01).float().mean() for mean in means])
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25]), atol=0.012, rtol=0)
