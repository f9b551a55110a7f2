"""Every head of the catalog keeps the promises of `check_head`, and a broken one is found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from torch import Tensor

from pvrbench.policies.catalog import HEADS
from pvrbench.policies.checks import check_head
from pvrbench.policies.heads.network import Output, mixture


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_keeps_its_promises(name: str) -> None:
    broken = {verdict.name: verdict.problem for verdict in check_head(HEADS[name]) if not verdict.is_kept}
    assert not broken


def doubled_mixture(options: Mapping[str, object]) -> Output:
    """A mixture whose loss is twice what it should be."""
    sound = mixture(options)

    def doubled(outputs: Tensor, actions: Tensor) -> Tensor:
        return 2 * sound.loss(outputs, actions)

    return replace(sound, loss=doubled)


def test_a_wrong_likelihood_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvrbench.policies.heads.network.doubled", doubled_mixture, raising=False)
    spec = replace(HEADS["gmm"], entry_point="pvrbench.policies.heads.network:doubled")
    problems = [verdict.problem for verdict in check_head(spec) if not verdict.is_kept]
    assert len(problems) == 1
    assert "the losses differ" in problems[0]


def test_a_head_that_cannot_be_built_has_its_error_as_the_problem() -> None:
    verdicts = check_head(replace(HEADS["mlp"], entry_point="pvrbench.policies.heads.network:absent"))
    assert not verdicts[0].is_kept
    assert "AttributeError" in verdicts[0].problem


def test_a_head_that_learns_nothing_is_found() -> None:
    stuck = replace(HEADS["mlp"], options={**HEADS["mlp"].options, "last_layer_scale": float("inf")})
    verdicts = check_head(stuck)
    assert not verdicts[0].is_kept
    assert "not finite at update 0" in verdicts[0].problem
