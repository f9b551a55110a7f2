"""Encoders that several threads may enter say so where the engine looks: on what `load` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import nn

from pvrbench.encoders.base import Encoder
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.baseline import load as load_baseline
from pvrbench.encoders.families.custom import load as load_custom
from pvrbench.encoders.families.small_diffusion import load as load_small_diffusion
from pvrbench.encoders.families.timm_backbone import load as load_timm
from pvrbench.encoders.families.voltron import VoltronNetwork
from pvrbench.encoders.families.voltron import load as load_voltron
from pvrbench.encoders.spec import EncoderSpec, WeightsSource


def timm(_folder: Path) -> Encoder:
    return load_timm(ENCODERS["random_vit_tiny_112"])


def voltron(folder: Path) -> Encoder:
    network = VoltronNetwork(width=64, depth=1, num_heads=2, num_frames=1, grid_side=2)
    save_file(network.state_dict(), folder / "voltron.safetensors")
    row = ENCODERS["voltron_vcond_small"]
    options = {**row.options, "depth": 1, "num_heads": 2}
    weights = WeightsSource(uri=f"file:{folder / 'voltron.safetensors'}")
    spec = replace(row, image_size=32, grid_side=2, feature_dim=64, options=options, weights=weights)
    return load_voltron(spec)


def small_diffusion(_folder: Path) -> Encoder:
    return load_small_diffusion(ENCODERS["zoo_dift"])


def baseline(_folder: Path) -> Encoder:
    return load_baseline(ENCODERS["pixels_7"])


def custom(_folder: Path) -> Encoder:
    spec = EncoderSpec(name="c", entry_point="", objective="", options={"reference": f"{__name__}:mean_colour"})
    return load_custom(spec)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    return images.float().mean(dim=(1, 2))


@pytest.mark.parametrize(
    ("build", "is_reentrant"),
    [(timm, True), (voltron, True), (small_diffusion, False), (baseline, False), (custom, False)],
)
def test_what_load_returns_says_whether_threads_may_enter_it(
    build: Callable[[Path], Encoder], is_reentrant: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    encoder = build(tmp_path)
    assert bool(getattr(encoder, "reentrant", False)) == is_reentrant
    networks = [part for part in vars(encoder).values() if isinstance(part, nn.Module)]
    assert not any(hasattr(module, "reentrant") for network in networks for module in network.modules())
