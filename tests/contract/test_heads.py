"""Every head of the catalog keeps the promises of `check_head`, and a broken one is found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pvrbench.policies.base import Observation, Policy, State, TrainJob
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.checks import check_head
from pvrbench.policies.heads.mlp import MlpHead
from pvrbench.policies.spec import HeadSpec, TrainSettings
from pvrbench.policies.training.network_policy import NetworkPolicy


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_keeps_its_promises(name: str) -> None:
    broken = {verdict.name: verdict.problem for verdict in check_head(HEADS[name]) if not verdict.is_kept}
    assert not broken


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"hidden": [37, 50]}),
        ("gmm", {"hidden": [37], "num_modes": 3}),
        ("chunked", {"ensemble": False, "chunk": 3}),
        ("diffusion", {"horizon": 3, "num_executed": 1, "width": 64, "num_inference_steps": 4}),
    ],
)
def test_a_head_keeps_its_promises_under_other_options(name: str, options: dict[str, object]) -> None:
    spec = HEADS[name].with_options(options)  # pyright: ignore[reportArgumentType]
    broken = {verdict.name: verdict.problem for verdict in check_head(spec) if not verdict.is_kept}
    assert not broken


@dataclass(frozen=True, kw_only=True)
class Meddling(NetworkPolicy):
    """Acts otherwise in company, counts across episodes, and leaves the range."""

    def act(self, observation: Observation, states: Sequence[State]) -> Tensor:
        return super().act(observation, states) + len(states)


class MeddlingHead(MlpHead):
    """An MLP whose policies meddle."""

    def fit(self, job: TrainJob, settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0) -> Policy:
        policy = super().fit(job, settings, device, num_checkpoints)
        assert isinstance(policy, NetworkPolicy)
        return Meddling(**policy.__getstate__())


class UnseededHead(MlpHead):
    """An MLP that draws its seed itself."""

    def fit(self, job: TrainJob, settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0) -> Policy:
        return super().fit(replace(job, seed=int(torch.randint(1000, ()))), settings, device, num_checkpoints)


def problems(spec: HeadSpec) -> dict[str, str]:
    return {verdict.name: verdict.problem for verdict in check_head(spec) if not verdict.is_kept}


def own(monkeypatch: pytest.MonkeyPatch, head: type[MlpHead]) -> HeadSpec:
    monkeypatch.setattr("pvrbench.policies.heads.mlp.Own", head, raising=False)
    return replace(HEADS["mlp"], entry_point="pvrbench.policies.heads.mlp:Own", fit_together=False)


def test_a_head_that_depends_on_companions_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkPolicy, "act_many", None)
    found = problems(own(monkeypatch, MeddlingHead))
    assert any("an action of size" in problem for problem in found.values())
    assert "a row's actions do not depend on the other rows or policies" in found


def test_a_head_without_a_seed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(own(monkeypatch, UnseededHead))
    assert found["the same seed gives the same policy"] == "the same seed gave other weights"


def test_a_head_that_cannot_be_built_has_its_error_as_the_problem() -> None:
    verdicts = check_head(replace(HEADS["mlp"], entry_point="pvrbench.policies.heads.mlp:absent"))
    assert not verdicts[0].is_kept
    assert "has no attribute 'absent'" in verdicts[0].problem


def test_a_head_that_learns_nothing_is_found() -> None:
    verdicts = check_head(HEADS["mlp"].with_options({"last_layer_scale": 1e38}))
    assert not verdicts[0].is_kept
    assert "not finite at update 0" in verdicts[0].problem
