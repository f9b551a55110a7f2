from __future__ import annotations

import math

import pytest

from benchmark.composition import compose_config
from benchmark.engine.machine import sized


@pytest.mark.parametrize(
    ("device", "cores", "memory_gib", "expected"),
    [
        ("cpu", 1, 64, (1, 24, 8)),
        ("cpu", 2, 64, (2, 12, 8)),
        ("cpu", 16, 64, (16, 5, 8)),
        ("cuda", 16, 128, (16, 4, 32)),
        # Memory is short: first fewer environments, then fewer processes, but always one.
        ("cpu", 2, 8, (2, 9, 8)),
        ("cpu", 16, 16, (5, 5, 8)),
        ("cpu", 4, 1, (1, 6, 8)),
        ("cpu", 2, math.inf, (2, 12, 8)),
    ],
)
def test_sizes_follow_the_machine(device: str, cores: int, memory_gib: float, expected: tuple[int, int, int]) -> None:
    engine = sized(compose_config([]).engine, device, cores, 1024.0 * memory_gib)
    assert (engine.num_workers, engine.envs_per_worker, engine.tile) == expected
    assert engine.device == device


def test_what_is_set_by_hand_stays() -> None:
    overrides = ["engine.num_workers=7", "engine.envs_per_worker=3", "engine.tile=16"]
    engine = sized(compose_config(overrides).engine, "cpu", 2, 1024.0)
    assert (engine.num_workers, engine.envs_per_worker, engine.tile) == (7, 3, 16)
