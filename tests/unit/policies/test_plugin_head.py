"""A third party's head, with code and options of its own and without hidden layers, is trained, checked and stored."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from pvrbench.policies.base import Observation, TrainJob
from pvrbench.policies.checks import check_head
from pvrbench.policies.spec import HeadOptionError, HeadSpec, TrainSettings
from pvrbench.policies.together import train_heads

SETTINGS = TrainSettings(
    num_updates=1,
    batch_size=16,
    learning_rate=1e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="none",
    action_norm="none",
    use_proprio=True,
)


@pytest.fixture(scope="module")
def nearest() -> HeadSpec:
    folder = str(Path(__file__).parents[2] / "example_plugin")
    sys.path.insert(0, folder)
    try:
        spec = import_module("pvrbench_example").NEAREST
        import_module("pvrbench_example_head")
    finally:
        sys.path.remove(folder)
    assert isinstance(spec, HeadSpec)
    return spec


def test_it_keeps_the_promises_of_every_head(nearest: HeadSpec) -> None:
    assert not {verdict.name: verdict.problem for verdict in check_head(nearest) if not verdict.is_kept}


def test_it_acts_as_the_nearest_training_frames(nearest: HeadSpec) -> None:
    job = TrainJob(
        features=torch.tensor([[0.0], [1.0], [2.0]]),
        proprio=torch.zeros(3, 1),
        actions=torch.tensor([[0.1], [0.2], [0.6]]),
        episodes=torch.zeros(3, dtype=torch.long),
        seed=0,
    )
    observation = Observation(torch.tensor([[1.2], [1.8]]), torch.zeros(2, 1))
    (one,) = train_heads(nearest, [job], SETTINGS)
    torch.testing.assert_close(one.act(observation, [None, None])[:, 0, 0], torch.tensor([0.2, 0.6]))
    (two,) = train_heads(nearest.with_options({"num_neighbours": 2}), [job], SETTINGS)
    torch.testing.assert_close(two.act(observation, [None, None])[:, 0, 0], torch.tensor([0.4, 0.4]))


def test_its_options_are_its_own(nearest: HeadSpec) -> None:
    with pytest.raises(HeadOptionError, match=r"has no option 'hidden'. Its options: num_neighbours"):
        nearest.with_options({"hidden": [64]})
    assert nearest.options.num_weights(100, 4) > 0
