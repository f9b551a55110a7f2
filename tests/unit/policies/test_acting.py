"""Acting for many rows at once: each row has the bits that it has alone, whatever lies beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pvrbench.policies.base import Observation, Policy, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.heads.network import ACTIVATIONS, forward
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.together import act_together, train_heads
from pvrbench.policies.training.network_policy import NetworkPolicy

SETTINGS = TrainSettings(
    num_updates=2,
    batch_size=16,
    learning_rate=1e-2,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="standard",
    use_proprio=True,
)


def trained(
    name: str,
    dims: tuple[int, int, int],
    options: dict[str, Any],
    input_norm: Literal["standard", "batch"] = "standard",
    readout: nn.Module | None = None,
) -> list[Policy]:
    generator = torch.Generator().manual_seed(0)
    feature_dim, proprio_dim, action_dim = dims
    jobs = [
        TrainJob(
            features=torch.randn(20, feature_dim, generator=generator),
            proprio=torch.randn(20, proprio_dim, generator=generator),
            actions=torch.rand(20, action_dim, generator=generator) * 2 - 1,
            episodes=torch.arange(20) // 10,
            seed=seed,
            trained_readout=readout,
        )
        for seed in range(3)
    ]
    settings = replace(SETTINGS, input_norm=input_norm)
    return train_heads(HEADS[name].with_options(options), jobs, settings)


def plainly(policy: Policy, observation: Observation) -> Tensor:
    """The deterministic action of one row by the ordinary operations, nothing padded."""
    assert isinstance(policy, NetworkPolicy)
    inputs = policy.inputs.apply(torch.cat([observation.features, observation.proprio], dim=1))
    if policy.batch_norm is not None:
        inputs = inputs * policy.batch_norm.scale + policy.batch_norm.shift
    outputs = forward(policy.layers, inputs[None], ACTIVATIONS[policy.activation])[0]
    if policy.output.is_bounded:
        outputs = torch.tanh(outputs)
    return policy.actions.invert(outputs).clamp(-1, 1)


SHAPES = [(512, 39, 4), (24, 4, 3), (1, 0, 1), (17, 3, 7), (389, 9, 1), (100, 11, 24), (33, 0, 5), (768, 39, 8)]


@pytest.mark.parametrize("hidden", [[256, 256], [37], [100, 55, 3], [16]])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_in_company_have_the_bits_of_ordinary_operations_alone(
    shape: tuple[int, int, int], activation: str, hidden: list[int]
) -> None:
    feature_dim, proprio_dim, _ = shape
    options = {"hidden": hidden, "activation": activation, "squash": activation == "tanh"}
    policies = trained("mlp", shape, options)
    generator = torch.Generator().manual_seed(1)
    num_rows = 19
    given = Observation(
        torch.randn(num_rows, feature_dim, generator=generator), torch.randn(num_rows, proprio_dim, generator=generator)
    )
    owners = [row * row % 3 for row in range(num_rows)]
    found = act_together(policies, owners, given, [None] * num_rows)
    for row, owner in enumerate(owners):
        assert torch.equal(torch.from_numpy(found[row]), plainly(policies[owner], given.pick([row])))


@pytest.mark.parametrize("options", [{"hidden": [64]}, {"hidden": [37], "num_modes": 3}])
@pytest.mark.parametrize("input_norm", ["standard", "batch"])
@pytest.mark.parametrize("name", ["gmm", "gmm_sampled", "chunked", "diffusion"])
def test_subsets_orders_and_positions_change_no_bit(
    name: str, input_norm: Literal["standard", "batch"], options: dict[str, Any]
) -> None:
    options = options if "gmm" in name else {}
    policies = trained(name, (29, 5, 4), options, input_norm, nn.Linear(29, 13))
    generator = np.random.default_rng(0)
    features, proprio = torch.randn(23, 29), torch.randn(23, 5)
    given = Observation(features, proprio)
    owners = [row % 3 for row in range(23)]
    alone = [
        policies[owner].act(given.pick([row]), [policies[owner].start([0, row])])[0] for row, owner in enumerate(owners)
    ]
    for size in (23, 11, 8, 2, 1):
        rows = [int(row) for row in generator.permutation(23)[:size]]
        states = [policies[owners[row]].start([0, row]) for row in rows]
        found = act_together(policies, [owners[row] for row in rows], given.pick(rows), states)
        for row, actions in zip(rows, found, strict=True):
            assert torch.equal(torch.from_numpy(actions), alone[row])


def test_policies_of_different_heads_act_in_one_call() -> None:
    policies = [trained(name, (24, 4, 3), {})[0] for name in ("mlp", "gmm_sampled", "chunked", "diffusion", "mlp_tanh")]
    given = Observation(torch.randn(10, 24), torch.randn(10, 4))
    owners = [row % 5 for row in range(10)]
    states = [policies[owner].start([3, row]) for row, owner in enumerate(owners)]
    found = act_together(policies, owners, given, states)
    assert [len(actions) for actions in found] == [1, 1, 1, 4, 1] * 2
    for row, owner in enumerate(owners):
        alone = policies[owner].act(given.pick([row]), [policies[owner].start([3, row])])[0]
        assert torch.equal(torch.from_numpy(found[row]), alone)


def test_noise_is_that_of_the_episode_one_draw_a_step() -> None:
    policy = trained("gmm_sampled", (24, 4, 3), {"hidden": [16]})[0]
    state, reference = policy.start([5, 11]), np.random.default_rng([5, 11])
    given = Observation(torch.randn(1, 24), torch.randn(1, 4))
    for _ in range(3):
        policy.act(given, [state])
        reference.random(4, dtype=np.float32)
    assert state.random() == reference.random()
