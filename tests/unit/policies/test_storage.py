"""Heads on disk come back to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import nn

from pvrbench.policies.base import TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import TrainSettings
from pvrbench.policies.storage import load_head, save_head
from pvrbench.policies.training.behavior_cloning import train_heads
from pvrbench.policies.training.cloned_head import ClonedHead

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


def trained(name: str, input_norm: str = "standard", front: nn.Module | None = None) -> tuple[ClonedHead, TrainJob]:
    generator = torch.Generator().manual_seed(0)
    job = TrainJob(
        features=torch.randn(20, 12, generator=generator),
        proprio=torch.randn(20, 4, generator=generator),
        actions=torch.rand(20, 3, generator=generator) * 2 - 1,
        seed=0,
        front=front,
    )
    head = train_heads(HEADS[name], [job], replace(SETTINGS, input_norm=input_norm))[0]
    assert isinstance(head, ClonedHead)
    return head, job


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("input_norm", ["standard", "batch"])
def test_a_loaded_head_acts_as_the_saved_one(name: str, input_norm: str, tmp_path: Path) -> None:
    head, job = trained(name, input_norm)
    save_head(head, tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")
    noise = torch.rand(20, head.noise_dim, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded.act(job.features, job.proprio, noise), head.act(job.features, job.proprio, noise))
    assert (loaded.spec, loaded.train_log, loaded.num_params) == (head.spec, head.train_log, head.num_params)
    assert [file.name for file in tmp_path.iterdir()] == ["head.safetensors"]


def test_a_trained_readout_is_kept_with_its_head(tmp_path: Path) -> None:
    head, job = trained("mlp", front=nn.Linear(12, 6))
    save_head(head, tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors", front=nn.Linear(12, 6))
    noise = torch.zeros(20, 0)
    assert torch.equal(loaded.act(job.features, job.proprio, noise), head.act(job.features, job.proprio, noise))
    with pytest.raises(ValueError, match="has a readout in front; give one of the same architecture"):
        load_head(tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match="is not of the saved architecture"):
        load_head(tmp_path / "head.safetensors", front=nn.Linear(12, 5))


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    head, _ = trained("mlp")
    path = tmp_path / "head.safetensors"
    save_head(head, path)
    with pytest.raises(ValueError, match="reads vectors"):
        load_head(path, front=nn.Linear(12, 6))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_head(path)
    cast("Any", save_file)({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds no head"):
        load_head(path)
