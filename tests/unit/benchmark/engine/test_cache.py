from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch

from pvrbench.benchmark.engine import cache as cache_module
from pvrbench.benchmark.engine.cache import CacheError, FeatureCache

KEY = "ab" + "0" * 62


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    tensors = {"class_token": torch.randn(5, 3), "pooled": torch.zeros(5, 0)}
    cache.put(KEY, tensors)
    found = cache.get(KEY)
    assert found is not None
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert cache.get("cd" + "0" * 62) is None


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_entry_counts_as_absent(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    cache.put(KEY, {"grid": torch.ones(4, 4)})
    path = next(tmp_path.glob("??/*.safetensors"))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    path.write_bytes(data[: len(data) // 2] if damage == "truncate" else data)
    assert cache.verify() == [path]
    assert cache.get(KEY) is None
    cache.put(KEY, {"grid": torch.ones(4, 4)})
    assert cache.get(KEY) is not None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 3000)
    for position, key in enumerate(["aa", "bb", "cc"]):
        cache.put(key + "0" * 62, {"grid": torch.zeros(250)})
        path = next((tmp_path / key).glob("*"))
        os.utime(path, (position, position))
    assert cache.get("aa" + "0" * 62) is not None  # used just now
    assert cache.trim() == 1
    assert cache.get("bb" + "0" * 62) is None
    assert cache.info().num_entries == 2
    assert cache.clear() == 2


def _writer(root: Path) -> None:
    for _ in range(20):
        FeatureCache(root, 2**30).put(KEY, {"grid": torch.ones(1000)})


def test_concurrent_writers_leave_a_sound_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    with context.Pool(2) as pool:
        pool.map(_writer, [tmp_path, tmp_path])
    cache = FeatureCache(tmp_path, 2**30)
    assert cache.verify() == []
    assert cache.info().num_entries == 1


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ab").write_text("in the way")
    with pytest.raises(CacheError, match="PVRBENCH_CACHE"):
        FeatureCache(tmp_path, 2**30).put(KEY, {"grid": torch.ones(1)})


@pytest.mark.parametrize("obstacle", ["removed by another run", "read-only"])
def test_tensors_that_were_read_are_returned_whatever_becomes_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    cache.put(KEY, {"grid": torch.ones(4)})
    touch = os.utime

    def meanwhile(path: Path) -> None:
        if obstacle == "read-only":
            raise PermissionError(13, "Permission denied", str(path))
        assert FeatureCache(tmp_path, 0).trim() == 1
        touch(path)

    monkeypatch.setattr(os, "utime", meanwhile)
    found = cache.get(KEY)
    assert found is not None
    assert torch.equal(found["grid"], torch.ones(4))


def test_an_entry_that_cannot_be_read_is_absent_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    cache.put(KEY, {"grid": torch.ones(4)})
    (path,) = tmp_path.glob("??/*.safetensors")

    def refuse(*_args: object, **_settings: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "safe_open", refuse)
        assert cache.get(KEY) is None
        assert cache.verify() == [path]  # nobody can say that it is sound
    assert cache.get(KEY) is not None
    assert cache.verify() == []


def test_an_entry_that_is_removed_while_it_is_opened_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    from_file = cast("Callable[..., object]", torch.UntypedStorage.from_file)

    def meanwhile(name: str, *, shared: bool, nbytes: int) -> object:
        Path(name).unlink()
        return from_file(name, shared=shared, nbytes=nbytes)

    # The file is opened twice: for its header, and to be mapped.
    monkeypatch.setattr(torch.UntypedStorage, "from_file", meanwhile)
    cache.put(KEY, {"grid": torch.ones(4)})
    assert cache.get(KEY) is None
    cache.put(KEY, {"grid": torch.ones(4)})
    assert cache.verify() == []


def test_entries_that_vanish_while_they_are_counted_do_no_harm(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 0)
    cache.put(KEY, {"grid": torch.ones(4)})
    # A listed name without a file behind it is what another run's `trim` leaves between listing and looking.
    (tmp_path / "ab" / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ab" / ".gone.tmp").symlink_to(tmp_path / "nowhere")
    assert cache.info().num_entries == 1
    assert cache.verify() == []
    assert cache.trim() == 1


def test_a_full_disk_leaves_no_part_of_an_entry(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files end at 1000 bytes, as on a disk that is full then.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(CacheError, match="Cannot write the feature cache"):
            cache.put(KEY, {"grid": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    cache.put(KEY, {"grid": torch.ones(4)})
    old, fresh = tmp_path / "ab" / ".old.tmp", tmp_path / "ab" / ".fresh.tmp"
    for path, age_s in ((old, 3700), (fresh, 3500)):
        path.write_bytes(b"half an entry")
        os.utime(path, (time.time(), time.time() - age_s))
    assert cache.trim() == 0
    assert not old.exists()
    assert fresh.exists()  # of a process that is at work, perhaps
    assert cache.clear() == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_clearing_while_another_run_writes_does_not_end_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(tmp_path, 2**30)
    replace = Path.replace

    def meanwhile(path: Path, target: Path) -> Path:
        cache.clear()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", meanwhile)
    cache.put(KEY, {"grid": torch.ones(4)})
    assert cache.get(KEY) is None


def test_others_can_read_a_shared_cache(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        FeatureCache(tmp_path, 2**30).put(KEY, {"grid": torch.ones(4)})
    finally:
        os.umask(old)
    (path,) = tmp_path.glob("??/*.safetensors")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_cache_of_others_is_read_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FeatureCache(tmp_path, 2**30).put(KEY, {"grid": torch.ones(4)})
    said: list[str] = []
    cache = FeatureCache(tmp_path, 2**30, said.append)

    def refuse(path: Path, _data: bytes) -> int:
        # Whoever may do everything, as in most containers, is not refused by the permissions of a folder.
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        for key in ("cd", "ef"):
            cache.put(key + "0" * 62, {"grid": torch.ones(4)})
    (warning,) = said
    assert f"{tmp_path / 'cd'} cannot be written (Permission denied)" in warning
    assert "PVRBENCH_CACHE" in warning
    assert cache.get(KEY) is not None
    assert cache.info().num_entries == 1
