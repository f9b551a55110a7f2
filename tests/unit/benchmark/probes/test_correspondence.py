"""Correspondence: features that know the surface find every point, features that know nothing find none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.engine.context import load_task
from pvrbench.benchmark.probes.correspondence import match, score_pairs
from pvrbench.benchmark.probes.scenes import Pair, Shot, expert_places, make_pair, take
from pvrbench.benchmark.records.probe_schema import Measure
from pvrbench.envs.pictures.geometry import ROBOT, Geometry
from pvrbench.envs.spec import View

SIDE = 168


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    task = load_task(tasks()["metaworld/button-press-topdown-v3"])
    places = expert_places(task, 1, 3)
    first, second = (
        take(task, View(camera=camera, image_px=SIDE, render="lean"), places) for camera in ("left_cap2", "right_cap2")
    )
    rng = np.random.default_rng(0)

    def flat(shots: list[list[Shot]]) -> list[Shot]:
        return [shot for part in shots for shot in part]

    found = [make_pair("camera", *both, 10, rng) for both in zip(flat(first), flat(second), strict=True)]
    found += [make_pair("later", part[0], part[2], 10, rng) for part in first]
    return [pair for pair in found if pair is not None]


def surface_features(geometry: Geometry) -> Tensor:
    """Random Fourier features of body and place on its surface: their cosine falls with the distance."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    bodies, points = geometry.surface(np.stack([x.ravel(), y.ravel()], axis=1))
    waves = (points + 10.0 * bodies[:, None]) @ rng.normal(0, 50, (3, 64))
    features = np.concatenate([np.cos(waves), np.sin(waves)], axis=1)
    return torch.from_numpy(features.T.reshape(128, SIDE, SIDE)).float()


def pck(measures: tuple[Measure, ...], name: str) -> dict[tuple[str, str], Measure]:
    return {(item.of, item.on): item for item in measures if item.name == name}


def test_the_surface_itself_finds_every_point(pairs: list[Pair]) -> None:
    grids = [(surface_features(pair.source.geometry), surface_features(pair.target.geometry)) for pair in pairs]
    measures, _ = score_pairs(pairs, grids, 8.0)
    found = pck(measures, "pck_0.10")
    assert {kind for kind, _ in found} == {"camera", "later", "all"}
    assert {group for _, group in found} == {"object", "robot"}
    assert min(item.value for item in found.values()) >= 0.98
    assert min(item.value for item in pck(measures, "pck_8px").values()) >= 0.98


def test_a_constant_is_no_better_than_chance(pairs: list[Pair]) -> None:
    constant = torch.ones(16, 14, 14)
    measures, _ = score_pairs(pairs, [(constant, constant)] * len(pairs), 8.0)
    shares = [item for item in measures if item.name.startswith("pck")]
    assert shares
    for item in shares:
        assert item.reference is not None
        assert item.value <= item.reference
        assert 0 < item.reference < 0.1


def test_staying_is_no_answer_to_what_moved(pairs: list[Pair]) -> None:
    """Features that know the place in the picture alone score nothing where the scene went on."""
    y, x = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    waves = torch.randn(128, 2, generator=torch.Generator().manual_seed(0)) * 60 @ torch.stack([x, y]).flatten(1)
    places = torch.cat([waves.cos(), waves.sin()]).reshape(256, SIDE, SIDE)
    later = [pair for pair in pairs if pair.kind == "later"]
    measures, predicted = score_pairs(later, [(places, places)] * len(later), 8.0)
    assert all(np.abs(found - pair.points).max() < 1.5 for found, pair in zip(predicted, later, strict=True))
    assert pck(measures, "pck_0.05")["later", "object"].value == 0.0


def test_points_are_on_what_moves_and_boxes_enclose_it(pairs: list[Pair]) -> None:
    for pair in pairs:
        x, y = pair.counterparts.astype(int).T
        assert (pair.target.geometry.seen[y, x] == pair.owners).all()
        assert (pair.boxes > 3).all()
    assert {int(owner) == ROBOT for pair in pairs for owner in pair.owners} == {True, False}


def test_the_place_of_a_patch_is_its_centre() -> None:
    """One patch that differs from all others is found in the middle of its pixels."""
    grid = torch.zeros(2, 14, 14)
    grid[0] = 1.0
    grid[:, 4, 9] = torch.tensor([0.0, 1.0])
    centre: Any = np.array([[9.5 * 16, 4.5 * 16]])
    assert np.abs(match(grid, grid, centre / 224, (224, 224)) - centre).max() <= 8
