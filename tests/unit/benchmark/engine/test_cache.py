from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from benchmark.engine.cache import CacheError, FeatureCache

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
