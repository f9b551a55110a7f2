from __future__ import annotations

import math
from pathlib import Path

import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.hardware import available_mib, num_cores, sized


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


@pytest.mark.parametrize(
    ("limits", "cores", "memory_mib"),
    [
        ({"cpu.max": "100000 100000", "memory.max": str(64 * 2**20), "memory.current": str(24 * 2**20)}, 1, 40),
        (
            {"memory.max": f"{2**26}", "memory.current": f"{2**25}", "memory.stat": f"anon 1\ninactive_file {2**24}"},
            None,
            48,
        ),
        ({"cpu.max": "50000 100000", "memory.max": "max", "memory.current": "5"}, 1, None),
        ({"cpu.max": "max 100000"}, None, None),
        ({}, None, None),
    ],
)
def test_a_containers_limits_are_kept(
    limits: dict[str, str], cores: int | None, memory_mib: float | None, tmp_path: Path
) -> None:
    for name, text in limits.items():
        (tmp_path / name).write_text(f"{text}\n")
    absent = tmp_path / "absent"
    assert num_cores(tmp_path) == (cores or num_cores(absent))
    assert available_mib(tmp_path) == pytest.approx(memory_mib or available_mib(absent), rel=0.1)
