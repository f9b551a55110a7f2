from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from pvrbench.benchmark.catalog import encoders
from pvrbench.benchmark.engine.features import FeatureError, TileEncoder
from pvrbench.benchmark.engine.lanes import EncoderLanes
from pvrbench.benchmark.engine.context import load_encoder
from pvrbench.encoders.base import Features
from pvrbench.envs.base import Array

TILE = 4


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class _Counting:
    """An encoder that notes how many threads are in it at once, and fails on a black image."""

    def __init__(self, *, reentrant: bool) -> None:
        self.spec = encoders()["pixels_14"]
        self.digest = ""
        self.reentrant = reentrant
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def encode(self, inputs: Tensor) -> Features:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.05)
        with self._lock:
            self.inside -= 1
        return Features(pooled=torch.ones(len(inputs) - (1 if inputs.sum() == 0 else 0), 1))

    def to(self, device: str) -> _Counting:
        assert device == "cpu"
        return self


def _frames(count: int) -> Array:
    return np.random.default_rng(0).integers(1, 256, (count, 16, 16, 3), dtype=np.uint8)


def _through(lanes: EncoderLanes, num_tiles: int) -> dict[int, Features]:
    for tile in range(num_tiles):
        lanes.submit([tile], _frames(num_tiles * TILE)[tile * TILE : (tile + 1) * TILE])
    found: dict[int, Features] = {}
    while len(found) < num_tiles:
        assert select.select([lanes.signal], [], [], 10)[0], "nobody says that a tile is done"
        found |= {slots[0]: features.compact for slots, features in lanes.done()}
    return found


@pytest.mark.parametrize("name", ["random_resnet18_64", "random_vit_tiny_112"])
def test_how_many_tiles_are_encoded_at_once_changes_no_bit(name: str) -> None:
    encoder = TileEncoder(load_encoder(encoders()[name]), "cpu", TILE, keep_raw=False)
    assert encoder.reentrant
    together = encoder.encode(_frames(4 * TILE))["grid"]
    with EncoderLanes(encoder, 3, 3) as lanes:
        in_lanes = _through(lanes, 4)
    encoder.reentrant = False
    alone = encoder.encode(_frames(4 * TILE))["grid"]
    assert torch.equal(together, alone)
    for tile, part in in_lanes.items():
        assert part.grid is not None
        assert torch.equal(part.grid, alone[tile * TILE : (tile + 1) * TILE])


@pytest.mark.parametrize("reentrant", [True, False])
def test_an_encoder_is_entered_by_several_threads_only_where_it_says_so(reentrant: bool) -> None:
    encoder = _Counting(reentrant=reentrant)
    with EncoderLanes(TileEncoder(encoder, "cpu", TILE, keep_raw=False), 3, 3) as lanes:
        _through(lanes, 6)
    assert (encoder.most > 1) == reentrant


def test_the_error_of_an_encoder_reaches_the_one_who_waits() -> None:
    encoder = TileEncoder(_Counting(reentrant=True), "cpu", TILE, keep_raw=False)
    with EncoderLanes(encoder, 2, 2) as lanes:
        lanes.submit([0], np.zeros((TILE, 16, 16, 3), np.uint8))
        select.select([lanes.signal], [], [], 10)
        with pytest.raises(FeatureError, match="returned 3 rows of pooled for 4 images"):
            lanes.done()
