"""Policies on disk come back to the last bit, and what is not one is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from pvrbench.policies.base import Observation, Policy, TrainJob, UntrainedPolicy
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.storage import PolicyFileError, load_policy, save_policy
from pvrbench.policies.together import train_heads

SETTINGS = TrainSettings(
    num_updates=10,
    batch_size=16,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="standard",
    use_proprio=True,
)


def trained(
    name: str, input_norm: Literal["standard", "batch"] = "standard", readout: nn.Module | None = None
) -> tuple[Policy, TrainJob]:
    generator = torch.Generator().manual_seed(0)
    job = TrainJob(
        features=torch.randn(20, 12, generator=generator),
        proprio=torch.randn(20, 4, generator=generator),
        actions=torch.rand(20, 3, generator=generator) * 2 - 1,
        episodes=torch.arange(20) // 10,
        seed=0,
        trained_readout=readout,
    )
    return train_heads(HEADS[name], [job], replace(SETTINGS, input_norm=input_norm))[0], job


def acts(policy: Policy, job: TrainJob) -> Tensor:
    return policy.act(Observation(job.features, job.proprio), [policy.start([0, row]) for row in range(20)])


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("input_norm", ["standard", "batch"])
def test_a_loaded_policy_acts_as_the_saved_one(
    name: str, input_norm: Literal["standard", "batch"], tmp_path: Path
) -> None:
    policy, job = trained(name, input_norm)
    save_policy(policy, tmp_path, "abc")
    loaded = load_policy(tmp_path, "abc", HEADS[name])
    assert torch.equal(acts(loaded, job), acts(policy, job))
    assert (loaded.spec, loaded.train_log, loaded.num_params) == (policy.spec, policy.train_log, policy.num_params)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["abc.json", "abc.safetensors"]


def test_a_trained_readout_is_kept_with_its_policy(tmp_path: Path) -> None:
    policy, job = trained("mlp", readout=nn.Linear(12, 6))
    save_policy(policy, tmp_path, "abc")
    loaded = load_policy(tmp_path, "abc", HEADS["mlp"], nn.Linear(12, 6))
    assert torch.equal(acts(loaded, job), acts(policy, job))
    with pytest.raises(PolicyFileError, match="has a trained readout; give a module of its architecture"):
        load_policy(tmp_path, "abc", HEADS["mlp"])
    with pytest.raises(PolicyFileError, match="is not of the saved architecture"):
        load_policy(tmp_path, "abc", HEADS["mlp"], nn.Linear(12, 5))


def test_a_readout_for_a_policy_without_one_is_refused(tmp_path: Path) -> None:
    save_policy(trained("mlp")[0], tmp_path, "abc")
    with pytest.raises(PolicyFileError, match="has no trained readout"):
        load_policy(tmp_path, "abc", HEADS["mlp"], nn.Linear(12, 6))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_text("[]")


def _with(changes: dict[str, Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("abc.safetensors", _cut, "is truncated or was edited: its SHA-256 is not the one in its JSON file"),
        ("abc.safetensors", _flip, "is truncated or was edited: its SHA-256 is not the one in its JSON file"),
        ("abc.safetensors", _remove, "abc.safetensors does not exist. Train the policy again"),
        ("abc.json", _cut, "is not a whole JSON file"),
        ("abc.json", _remove, "abc.json does not exist. Train the policy again"),
        ("abc.json", _with({"description": {}}), "was edited after it was written"),
        ("abc.json", _with({"format_version": 99}), "has format version 99; this version reads 1"),
        ("abc.json", _empty, "has format version None"),
    ],
)
def test_a_damaged_policy_is_refused_in_one_line(
    file: str, harm: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    save_policy(trained("mlp")[0], tmp_path, "abc")
    harm(tmp_path / file)
    with pytest.raises(PolicyFileError, match=message) as found:
        load_policy(tmp_path, "abc", HEADS["mlp"])
    assert "\n" not in str(found.value)


def test_a_policy_of_another_head_is_refused(tmp_path: Path) -> None:
    save_policy(trained("mlp")[0], tmp_path, "abc")
    with pytest.raises(PolicyFileError, match="holds head 'mlp' with name \"mlp\"; expected \"gmm\" of head 'gmm'"):
        load_policy(tmp_path, "abc", HEADS["gmm"])
    with pytest.raises(PolicyFileError, match=r"with options .*\[256, 256\].*; expected .*\[64\]"):
        load_policy(tmp_path, "abc", HEADS["mlp"].with_options({"hidden": [64]}))


def test_a_policy_that_was_never_trained_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="never trained and cannot be stored: no data"):
        save_policy(UntrainedPolicy(HEADS["mlp"], "no data"), tmp_path, "abc")
    assert not list(tmp_path.iterdir())
