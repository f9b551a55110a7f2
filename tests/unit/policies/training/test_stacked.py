"""Heads: what they learn, and that each is itself whatever its companions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pvrbench.encoders.readouts.modules import Projection
from pvrbench.policies.base import Observation, Policy, TrainJob, build_head
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import Regularisation, TrainSettings
from pvrbench.policies.storage import load_policy, save_policy
from pvrbench.policies.together import act_together, train_heads
from pvrbench.policies.training.log import checkpoint_updates
from pvrbench.policies.training.modules import ModuleHead
from pvrbench.policies.training.network_policy import NetworkPolicy
from pvrbench.policies.training.stacked import StackedHead

# Heads that are trained by gradient steps; a head may also be computed from the demonstrations.
TRAINED_HEADS = sorted(name for name, spec in HEADS.items() if isinstance(build_head(spec), (StackedHead, ModuleHead)))

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


def job(seed: int, num_steps: int = 60, feature_dim: int = 24) -> TrainJob:
    generator = torch.Generator().manual_seed(100 + seed)
    features = torch.randn(num_steps, feature_dim, generator=generator)
    proprio = torch.randn(num_steps, 4, generator=generator)
    actions = torch.tanh(features[:, :3] + 0.5 * proprio[:, :3])
    episodes = torch.arange(num_steps) // 20
    return TrainJob(features=features, proprio=proprio, actions=actions, episodes=episodes, seed=seed)


def acts(policy: Policy, features: Tensor, proprio: Tensor) -> Tensor:
    """First actions of episodes that begin at each row."""
    states = [policy.start([0, row]) for row in range(len(features))]
    return policy.act(Observation(features, proprio), states)[:, 0]


def parameters(head: object) -> list[Tensor]:
    assert isinstance(head, NetworkPolicy)
    return [part for layer in head.layers for part in (layer.weight, layer.bias)]


def same(first: object, second: object) -> bool:
    return all(torch.equal(a, b) for a, b in zip(parameters(first), parameters(second), strict=True))


@pytest.mark.parametrize("name", ["linear", "mlp", "gaussian", "gmm"])
def test_a_head_overfits_a_few_samples(name: str) -> None:
    few = job(0, num_steps=32)
    settings = replace(SETTINGS, num_updates=600, learning_rate=3e-3)
    head = train_heads(HEADS[name], [few], settings)[0]
    assert head.failure is None
    error = (acts(head, few.features, few.proprio) - few.actions).abs().mean()
    # Likelihoods fit more loosely than a squared error, five modes that share 32 samples most; the mean gives 0.45.
    assert float(error) < {"linear": 0.2, "gaussian": 0.2, "gmm": 0.25}.get(name, 0.08)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("input_norm", ["standard", "batch", "global", "none"])
@pytest.mark.parametrize("name", ["mlp", "gmm"])
def test_a_head_is_the_same_bits_alone_and_in_company(name: str, input_norm: str, optimizer: str) -> None:
    settings = replace(SETTINGS, input_norm=input_norm, optimizer=optimizer)
    kinds = ((0.0, 0.0), (0.1, 0.0), (0.3, 0.01), (0.1, 0.1), (0.0, 0.03))
    jobs = [
        replace(job(seed, num_steps), regularisation=Regularisation(dropout=dropout, weight_decay=decay))
        for (seed, num_steps), (dropout, decay) in zip(
            ((0, 30), (1, 60), (2, 90), (0, 60), (4, 45)), kinds, strict=True
        )
    ]
    together = train_heads(HEADS[name], jobs, settings)
    for position in (0, 3, 4):
        alone = train_heads(HEADS[name], [jobs[position]], settings)[0]
        assert same(alone, together[position])
        assert alone.train_log == together[position].train_log


@pytest.mark.parametrize("readout", [None, nn.Identity()])
def test_heads_that_share_a_table_of_frames_learn_from_their_rows_alone(readout: nn.Module | None) -> None:
    own = [job(seed, num_steps) for seed, num_steps in ((0, 30), (1, 60))]
    features = torch.cat([*(each.features for each in own), torch.full((1, 24), torch.nan)])  # the last of no concern
    proprio = torch.cat([*(each.proprio for each in own), torch.zeros(1, 4)])
    actions = torch.cat([*(each.actions for each in own), torch.zeros(1, 3)])
    episodes = torch.arange(91) // 30
    rows = (torch.arange(30), torch.arange(30, 90))
    shared = [
        TrainJob(
            features=features,
            proprio=proprio,
            actions=actions,
            episodes=episodes,
            seed=seed,
            rows=rows[seed],
            trained_readout=readout,
        )
        for seed in range(2)
    ]
    heads = train_heads(HEADS["mlp"], shared, SETTINGS)
    for alone, head in zip((replace(each, trained_readout=readout) for each in own), heads, strict=True):
        (expected,) = train_heads(HEADS["mlp"], [alone], SETTINGS)
        assert same(expected, head)


@pytest.mark.parametrize(
    ("optimizer", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)], ids=["adam", "adamw"]
)
def test_weight_decay_is_that_of_torch(optimizer: str, kind: type[torch.optim.Optimizer]) -> None:
    one = replace(job(0), regularisation=Regularisation(weight_decay=0.1))
    settings = replace(SETTINGS, optimizer=optimizer, input_norm="none", schedule="cosine")
    (start,) = train_heads(HEADS["linear"], [one], replace(settings, learning_rate=1e-30))
    (found,) = train_heads(HEADS["linear"], [one], settings)
    weight, bias = (part[0].clone().requires_grad_() for part in parameters(start))
    theirs = kind([weight, bias], lr=settings.learning_rate, weight_decay=0.1)  # pyright: ignore[reportCallIssue]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, settings.num_updates)
    generator = torch.Generator().manual_seed(0)
    torch.rand(29, 3, generator=generator)  # the initial layer
    inputs = torch.cat([one.features, one.proprio], dim=1)
    for rows in torch.randint(60, (settings.num_updates, settings.batch_size), generator=generator):
        loss = (inputs[rows] @ weight + bias - one.actions[rows]).square().mean()
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        schedule.step()
    for ours, part in zip(parameters(found), (weight, bias), strict=True):
        torch.testing.assert_close(ours[0], part.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "batch_size", "feature_dim"), [("linear", 16, 389), ("mlp", 33, 389), ("gmm", 33, 24)]
)
def test_shapes_that_do_not_align_change_no_bit(name: str, batch_size: int, feature_dim: int) -> None:
    settings = replace(SETTINGS, batch_size=batch_size, num_updates=20)
    jobs = [job(seed, feature_dim=feature_dim) for seed in range(3)]
    jobs = [replace(each, actions=torch.cat([each.actions, each.actions, each.proprio[:, :1]], dim=1)) for each in jobs]
    together = train_heads(HEADS[name], jobs, settings)
    assert all(
        same(train_heads(HEADS[name], [each], settings)[0], head) for each, head in zip(jobs, together, strict=True)
    )


def _convolution(seed: int) -> TrainJob:
    torch.manual_seed(seed)
    readout = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    return replace(job(seed), features=job(seed).features.repeat(1, 8).reshape(60, 3, 8, 8), trained_readout=readout)


def _projection(seed: int) -> TrainJob:
    return replace(job(seed), trained_readout=Projection(24, 12, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("with_readout", [_convolution, _projection])
def test_a_head_behind_a_trainable_readout_is_the_same_bits_alone_and_in_company(
    with_readout: Callable[[int], TrainJob],
) -> None:

    together = train_heads(HEADS["mlp"], [with_readout(seed) for seed in range(3)], SETTINGS)
    for seed, head in enumerate(together):
        (alone,) = train_heads(HEADS["mlp"], [with_readout(seed)], SETTINGS)
        assert same(alone, head)
        assert isinstance(alone, NetworkPolicy)
        assert isinstance(head, NetworkPolicy)
        assert alone.trained_readout is not None
        assert head.trained_readout is not None
        pairs = zip(alone.trained_readout.parameters(), head.trained_readout.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_the_number_of_threads_changes_no_bit() -> None:
    jobs = [job(seed) for seed in range(3)]
    before = torch.get_num_threads()
    try:
        results: list[list[object]] = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append([*train_heads(HEADS["mlp"], jobs, SETTINGS)])
    finally:
        torch.set_num_threads(before)
    assert all(same(first, other) for result in results[1:] for first, other in zip(results[0], result, strict=True))


@pytest.mark.parametrize("name", ["mlp", "gmm_sampled"])
def test_a_row_does_not_depend_on_the_others(name: str) -> None:
    heads = train_heads(HEADS[name], [job(seed) for seed in range(3)], SETTINGS)
    probe = job(9, 21)
    observation = Observation(probe.features, probe.proprio)
    index = [0] * 5 + [row % 3 for row in range(5, 21)]
    together = act_together(heads, index, observation, [heads[0].start([0, row]) for row in range(21)])
    for row in range(21):
        alone = heads[index[row]].act(observation.pick([row]), [heads[0].start([0, row])])
        assert torch.equal(alone[0], torch.from_numpy(together[row]))


def test_a_diverging_head_is_said_and_spares_the_others() -> None:
    wild = job(1)
    wild = replace(wild, actions=wild.actions * float(torch.finfo().max))
    good, bad = train_heads(HEADS["mlp"], [job(0), wild], SETTINGS)
    assert bad.failure is not None
    assert "not finite at update" in bad.failure
    assert good.failure is None
    assert same(good, train_heads(HEADS["mlp"], [job(0)], SETTINGS)[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["features", "proprio", "actions"])
def test_a_training_set_that_is_not_finite_is_said_and_spares_the_others(part: str, value: float) -> None:
    bad = job(0)
    getattr(bad, part)[3, 2] = value
    first, failed, last = train_heads(HEADS["mlp"], [job(1), bad, job(2)], SETTINGS)
    assert failed.failure is not None
    assert f"The {part} of a training set hold NaN or infinity" in failed.failure
    for seed, head in ((1, first), (2, last)):
        assert head.failure is None
        assert same(head, train_heads(HEADS["mlp"], [job(seed)], SETTINGS)[0])


@pytest.mark.parametrize("readout", [None, nn.Linear(24, 8)])
def test_a_head_whose_last_update_overflows_has_failed_though_its_losses_are_finite(readout: nn.Module | None) -> None:
    spec = HEADS["linear"].with_options({"last_layer_scale": 1e-7})
    # Outputs of 1e18 have finite squares; their gradients by weights of features of 1e25 are infinite.
    huge = replace(job(0), features=job(0).features * 1e25, trained_readout=copy.deepcopy(readout))
    (head,) = train_heads(spec, [huge], replace(SETTINGS, num_updates=1, input_norm="none"))
    assert head.failure == "the parameters were not finite after the last update, though the losses were"


def test_checkpoints_are_distinct_and_before_the_last_update() -> None:
    assert checkpoint_updates(30, 3) == (10, 20)
    assert checkpoint_updates(20, 20) == tuple(range(1, 20))
    for num_updates in range(1, 25):
        for num_checkpoints in range(60):
            updates = checkpoint_updates(num_updates, num_checkpoints)
            assert list(updates) == sorted(set(updates))
            assert all(1 <= update < num_updates for update in updates)
            if num_checkpoints <= num_updates:
                assert len(updates) == max(0, num_checkpoints - 1)


@pytest.mark.gpu
@pytest.mark.parametrize("action_norm", ["standard", "none"])
@pytest.mark.parametrize("input_norm", ["standard", "batch", "global", "none"])
@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_a_head_learns_and_acts_on_the_gpu(
    name: str,
    input_norm: Literal["batch", "standard", "global", "none"],
    action_norm: Literal["standard", "none"],
    tmp_path: Path,
) -> None:
    settings = replace(SETTINGS, input_norm=input_norm, action_norm=action_norm, schedule="cosine")
    kind = Regularisation(dropout=0.1, weight_decay=0.01)
    torch.manual_seed(0)
    for readout in (None, nn.Identity(), nn.Linear(24, 8)):
        for use_proprio in (True, False):
            table = job(0)
            jobs = [
                replace(
                    table, seed=0, rows=torch.arange(40), trained_readout=copy.deepcopy(readout), regularisation=kind
                ),
                replace(table, seed=1, rows=torch.arange(10, 60), trained_readout=copy.deepcopy(readout)),
            ]
            heads = train_heads(HEADS[name], jobs, replace(settings, use_proprio=use_proprio), "cuda", 2)
            assert all(
                part.device.type == "cpu"
                for each in jobs
                if each.trained_readout
                for part in each.trained_readout.parameters()
            )
            features, proprio = jobs[0].features[:6].cuda(), jobs[0].proprio[:6].cuda()
            states = [heads[0].start([0, row]) for row in range(6)]
            observation = Observation(features, proprio)
            assert np.isfinite(act_together(heads, [row % 2 for row in range(6)], observation, states)).all()
            for head in heads:
                assert head.failure is None
                assert list(head.checkpoints) == [20]
                assert torch.isfinite(acts(head.checkpoints[20], features, proprio)).all()
                save_policy(head, tmp_path, "policy")
                loaded = load_policy(tmp_path, "policy", HEADS[name], copy.deepcopy(readout))
                acted = acts(loaded, features.cpu(), proprio.cpu())
                torch.testing.assert_close(acted, acts(head, features, proprio).cpu(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("action_norm", ["standard", "none"])
@pytest.mark.parametrize("name", ["mlp", "gmm"])
def test_dimensions_without_variance_do_no_harm(name: str, action_norm: str) -> None:
    flat = job(0)
    flat.features[:, 5] = 7.0
    flat.actions[:, 1] = 0.25
    head = train_heads(HEADS[name], [flat], replace(SETTINGS, action_norm=action_norm, num_updates=300))[0]
    assert head.failure is None
    actions = acts(head, flat.features, flat.proprio)
    assert torch.isfinite(actions).all()
    if action_norm == "standard" and name == "mlp":
        torch.testing.assert_close(actions[:, 1], torch.full((60,), 0.25), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["gaussian", "gmm", "gmm_sampled", "mlp_squashed"])
def test_rare_large_actions_are_in_reach_of_heads_whose_outputs_are_bounded(name: str) -> None:
    rare = job(0)
    is_large = torch.arange(60) % 10 == 0
    rare.features[:, 0] = torch.where(is_large, 3.0, 0.0)
    rare.actions[:] = torch.where(is_large, 0.9, 0.0)[:, None]
    assert float(rare.actions.mean() + rare.actions.std()) < 0.5
    settings = replace(SETTINGS, action_norm="standard", num_updates=300)
    head = train_heads(HEADS[name], [rare], settings)[0]
    acted = acts(head, rare.features, rare.proprio)
    assert float(acted[is_large].mean()) > 0.7
    assert float(acted[~is_large].abs().mean()) < 0.2


@pytest.mark.parametrize("kind", ["standard", "global", "batch", "none"])
def test_nothing_is_scaled_where_no_normalisation_is_asked_for(
    kind: Literal["standard", "global", "batch", "none"],
) -> None:
    one = job(0)
    head = train_heads(HEADS["mlp"], [one], replace(SETTINGS, input_norm=kind, num_updates=1))[0]
    behind = replace(one, trained_readout=nn.Linear(24, 8))
    with_readout = train_heads(HEADS["mlp"], [behind], replace(SETTINGS, input_norm=kind, num_updates=1))[0]
    for found in (head, with_readout):
        assert isinstance(found, NetworkPolicy)
        is_plain = torch.equal(found.inputs.std[-4:], torch.ones(4)) and not found.inputs.mean[-4:].any()
        assert is_plain == (kind in ("none", "batch"))


def test_proprioception_can_be_left_out() -> None:
    head = train_heads(HEADS["mlp"], [job(0)], replace(SETTINGS, use_proprio=False))[0]
    features = job(0).features[:4]
    assert torch.equal(acts(head, features, torch.zeros(4, 4)), acts(head, features, torch.ones(4, 4)))


def test_a_trainable_readout_learns_with_the_head() -> None:
    jobs = [replace(job(seed), trained_readout=nn.Linear(24, 8)) for seed in range(2)]
    before = [job.trained_readout.weight.clone() for job in jobs if isinstance(job.trained_readout, nn.Linear)]
    heads = train_heads(HEADS["mlp"], jobs, SETTINGS)
    for head, old in zip(heads, before, strict=True):
        assert isinstance(head, NetworkPolicy)
        assert isinstance(head.trained_readout, nn.Linear)
        assert not torch.equal(head.trained_readout.weight, old)
        assert head.num_params["trained_readout"] == 24 * 8 + 8


@pytest.mark.parametrize("input_norm", ["standard", "batch"])
@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_every_head_accepts_a_trainable_readout_with_and_without_proprioception(name: str, input_norm: str) -> None:
    for use_proprio in (True, False):
        torch.manual_seed(0)
        grids = replace(job(0), features=torch.randn(60, 3, 6, 6))
        readout = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten())
        before = [part.clone() for part in readout.parameters()]
        settings = replace(SETTINGS, num_updates=5, input_norm=input_norm, use_proprio=use_proprio)
        one = replace(grids, trained_readout=readout, regularisation=Regularisation(dropout=0.1, weight_decay=0.01))
        (head,) = train_heads(HEADS[name], [one], settings)
        assert head.failure is None
        assert head.trained_readout is not None
        assert not any(torch.equal(*pair) for pair in zip(head.trained_readout.parameters(), before, strict=True))
        actions = acts(head, grids.features[:5], grids.proprio[:5])
        assert torch.isfinite(actions).all()
        assert float(actions.abs().max()) <= 1


def test_frozen_statistics_come_from_the_training_set() -> None:
    one = job(0)
    head = train_heads(HEADS["mlp"], [one], SETTINGS)[0]
    assert isinstance(head, NetworkPolicy)
    torch.testing.assert_close(head.inputs.mean[:24], one.features.mean(dim=0))
    torch.testing.assert_close(head.inputs.mean[24:], one.proprio.mean(dim=0))


def test_weak_principal_components_stay_weak() -> None:
    # Two components carry the action, forty are faint noise: at full scale the head would fit the noise.
    generator = torch.Generator().manual_seed(0)
    strength = torch.cat([torch.ones(2), torch.full((40,), 0.01)])
    features = torch.randn(240, 42, generator=generator) * strength
    proprio, actions = torch.zeros(240, 4), 0.5 * torch.tanh(features[:, [0, 1, 0]])

    def error(readout: nn.Module | None) -> float:
        known = TrainJob(
            features=features[:40],
            proprio=proprio[:40],
            actions=actions[:40],
            episodes=torch.arange(40) // 20,
            seed=0,
            trained_readout=readout,
        )
        head = train_heads(HEADS["mlp"], [known], replace(SETTINGS, input_norm="standard", num_updates=300))[0]
        found = acts(head, features[40:], proprio[40:])
        return float((found - actions[40:]).square().mean())

    assert error(nn.Identity()) < 0.3 * error(None)
