from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import ConfigError
from pvrbench.benchmark.engine.hardware import available_mib, cache_root, check_room, control_groups, num_cores, sized


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


def test_limits_of_the_first_control_groups_are_kept(tmp_path: Path) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "100000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": f"{2**26}",
        "memory/memory.usage_in_bytes": f"{2**25}",
        "memory/memory.stat": f"cache 1\ntotal_inactive_file {2**24}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert num_cores(tmp_path) == 1
    assert available_mib(tmp_path) == pytest.approx(48)


@pytest.mark.parametrize(
    ("groups", "controller", "expected"),
    [
        ("0::/user/job\n", "", ["user/job", "user", "."]),
        ("5:cpu,cpuacct:/slurm\n4:memory:/\n", "cpu", ["cpu/slurm", "cpu"]),
        # In a container the path is the host's, which is not there.
        ("0::/docker/abc\n", "", ["."]),
        ("nonsense\n", "", ["."]),
    ],
)
def test_the_limits_of_all_groups_around_a_process_count(
    groups: str, controller: str, expected: list[str], tmp_path: Path
) -> None:
    for name in ("user/job", "cpu/slurm"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cgroup").write_text(groups)
    found = control_groups(tmp_path, controller, tmp_path / "cgroup")
    assert [str(folder.relative_to(tmp_path)) for folder in found] == expected


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["engine.num_workers=4000"], "engine.num_workers=4000 with 1 environments each need"),
        (["engine.envs_per_worker=4000"], "engine.num_workers=1 with 4000 environments each need"),
        (["engine.num_workers=60"], "need 304 open files, and a process may have 256 (ulimit -n)"),
    ],
)
def test_more_simulators_than_the_machine_holds_are_refused_with_numbers(overrides: list[str], words: str) -> None:
    config = compose_config(overrides)
    with pytest.raises(ConfigError) as caught:
        check_room(config.engine, config.image_px, cores=2, memory_mib=20_000.0, most_files=256)
    assert words in str(caught.value)
    assert "leave engine.num_workers=0" in str(caught.value)


def test_what_is_automatic_fits_any_machine() -> None:
    config = compose_config([])
    check_room(config.engine, config.image_px, cores=1, memory_mib=100.0, most_files=256)


@pytest.mark.parametrize("configured", [None, "~/cache"])
def test_without_a_home_folder_the_variable_of_the_cache_is_named(
    configured: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PVRBENCH_CACHE", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 987_654)  # nobody's
    with pytest.raises(ConfigError, match="Set PVRBENCH_CACHE to the full path of a folder"):
        cache_root(configured)
