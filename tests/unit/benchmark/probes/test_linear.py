"""Linear probes: what is there is found, what is not there is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pvrbench.benchmark.probes.linear import fit_linear, score_of

QUANTITIES = {"place": slice(0, 3)}


def r2(features: Tensor, targets: Tensor, episodes: Tensor) -> float:
    probe = fit_linear(features[:200], targets[:200], episodes[:200], QUANTITIES)
    score = score_of(probe(features[200:]), targets[200:], probe.offset)
    assert score is not None
    return score.r2


@pytest.fixture
def drawn() -> tuple[torch.Generator, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return generator, torch.randn(300, 3, generator=generator), torch.arange(300) // 20


@pytest.mark.parametrize("width", [12, 600])
def test_linear_features_are_read_and_noise_is_not(drawn: tuple[torch.Generator, Tensor, Tensor], width: int) -> None:
    generator, targets, episodes = drawn
    mixed = targets @ torch.randn(3, width, generator=generator) * 5 + 100
    noise = torch.randn(300, width, generator=generator)
    assert r2(mixed, targets, episodes) > 0.999
    assert abs(r2(noise, targets, episodes)) < 0.1
    # A part of what is asked for, behind noise of its size.
    assert 0.3 < r2(torch.cat([targets[:, :1], noise], dim=1), targets, episodes) + 0.3 < 0.9


def test_features_that_do_not_vary_change_nothing(drawn: tuple[torch.Generator, Tensor, Tensor]) -> None:
    _, targets, episodes = drawn
    dull = torch.cat([targets, torch.full((300, 2), 7.0)], dim=1)
    assert r2(dull, targets, episodes) > 0.999
    assert abs(r2(torch.ones(300, 4), targets, episodes)) < 0.05


def test_test_rows_have_no_say_in_the_fit(drawn: tuple[torch.Generator, Tensor, Tensor]) -> None:
    _, targets, episodes = drawn
    probe = fit_linear(targets[:200], targets[:200], episodes[:200], QUANTITIES)
    mean, deviation = targets[:200].double().mean(dim=0), targets[:200].double().std(dim=0, correction=0)
    torch.testing.assert_close(probe.mean, mean)
    torch.testing.assert_close(probe.std, deviation)


def test_the_penalty_is_chosen_over_whole_episodes() -> None:
    """Features that know the episode explain it inside the training part only, so the probe must not trust them."""
    generator = torch.Generator().manual_seed(1)
    episodes = torch.arange(300) // 20
    of_episode = torch.randn(15, 3, generator=generator)
    targets = of_episode[episodes]
    names = torch.nn.functional.one_hot(episodes, 15).float()
    assert abs(r2(names, targets, episodes)) < 0.15


def test_one_episode_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fit_linear(torch.randn(9, 2), torch.randn(9, 3), torch.zeros(9, dtype=torch.long), QUANTITIES)


def test_a_constant_quantity_has_no_score() -> None:
    assert score_of(torch.zeros(5, 1), torch.full((5, 1), 2.0), torch.zeros(1)) is None
