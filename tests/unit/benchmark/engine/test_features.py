"""Features of demonstrations are the same bits whether they were just encoded or read from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from pvrbench.benchmark.catalog import encoders, readouts
from pvrbench.benchmark.engine.cache import FeatureCache
from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.benchmark.engine.features import FrameFeatures, TileEncoder, demo_features
from pvrbench.benchmark.engine.processor import uses_tf32
from pvrbench.encoders.readouts.base import load_readout


@pytest.mark.parametrize("name", [name for name in encoders() if name.startswith(("random_", "zoo_"))])
def test_an_encoder_is_the_same_whatever_was_drawn_before(name: str) -> None:
    torch.manual_seed(1)
    first = load_encoder(encoders()[name]).digest
    torch.manual_seed(2)
    assert load_encoder(encoders()[name]).digest == first


@pytest.mark.parametrize("name", ["pixels_7", "pixels_28", "random_resnet18_64", "random_vit_tiny_112"])
def test_a_warm_cache_changes_no_bit_of_a_readout(name: str, tmp_path: Path) -> None:
    # Encoders give grids in whatever memory layout is cheap for them, and sums depend on the layout.
    images = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8)
    cache = FeatureCache(tmp_path, 2**30)
    cold, warm = (
        demo_features(TileEncoder(load_encoder(encoders()[name]), "cpu", 8, keep_raw=False), cache, [images])[0]
        for _ in range(2)
    )
    assert isinstance(cold, FrameFeatures)
    assert isinstance(warm, FrameFeatures)
    for readout in (readouts()["mean"], readouts()["grid2"]):
        read = load_readout(readout).read
        assert torch.equal(read(cold.of(readout)), read(warm.of(readout)))


def test_features_of_demonstrations_lie_in_the_cache_and_not_in_memory(tmp_path: Path) -> None:
    images = np.zeros((11, 64, 64, 3), np.uint8)
    encoder = TileEncoder(load_encoder(encoders()["pixels_7"]), "cpu", 8, keep_raw=False)
    for _ in ("cold", "warm"):
        found = demo_features(encoder, FeatureCache(tmp_path, 2**30), [images])[0]
        assert isinstance(found, FrameFeatures)
        assert found.compact.grid is not None
        assert _file_at(found.compact.grid.data_ptr()).startswith(str(tmp_path))


def _file_at(address: int) -> str:
    """The file that is mapped at an address of this process; empty where it is ordinary memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, *_, last = line.split()
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        if low <= address < high:
            return last if last.startswith("/") else ""
    return ""


@pytest.mark.parametrize("package", ["timm", "torchvision", "diffusers", "pvrbench"])
def test_features_of_another_version_are_not_taken_from_the_cache(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(encoders()["pixels_7"])
    before = TileEncoder(encoder, "cpu", 8, keep_raw=False).key("frames")
    assert TileEncoder(encoder, "cpu", 8, keep_raw=False).key("frames") == before
    folder = tmp_path / f"{package}-99.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert TileEncoder(encoder, "cpu", 8, keep_raw=False).key("frames") != before


FAST = """
import torch

def allow():
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")

allow()

def encode(images):
    exact = not torch.backends.cudnn.allow_tf32 and torch.get_float32_matmul_precision() == "highest"
    allow()
    return images.float().mean((1, 2)) + (0 if exact else 1000)
"""


def test_an_encoder_that_switches_on_tf32_is_computed_in_float32_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fast_encoder.py").write_text(FAST)
    monkeypatch.syspath_prepend(tmp_path)
    tiles = TileEncoder(load_encoder(encoders()["fast_encoder:encode"]), "cpu", 2, keep_raw=False)
    for _ in range(2):
        found = tiles.encode_tile(np.zeros((2, 32, 32, 3), np.uint8)).compact.pooled
        assert found is not None
        assert float(found.max()) == 0
        # What follows, such as the training of a head, is exact too.
        assert not uses_tf32()
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("name", ["random_vit_tiny_112", "random_resnet18_64"])
def test_bfloat16_rounds_and_changes_nothing_else(name: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8)
    cache = FeatureCache(tmp_path, 2**30)
    exact = TileEncoder(load_encoder(encoders()[name]), "cpu", 8, keep_raw=False)
    rough = TileEncoder(load_encoder(encoders()[name]), "cpu", 8, keep_raw=False, precision="bfloat16")
    assert rough.key("frames") != exact.key("frames")
    found = [demo_features(encoder, cache, [images])[0] for encoder in (exact, rough)]
    read = load_readout(readouts()["mean"]).read
    first, second = (read(cast("FrameFeatures", part).compact) for part in found)
    assert second.dtype == torch.float32
    assert not torch.equal(first, second)
    assert torch.allclose(first, second, rtol=0.05, atol=0.05 * float(first.abs().max()))
    # A frame's features do not depend on its companions.
    alone = rough.encode_tile(images[8:9]).compact
    among = rough.encode_tile(images[3:11]).compact
    assert torch.equal(read(alone)[0], read(among)[5])
