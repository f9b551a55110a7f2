"""Several encoders as one: OpenVLA's towers are what timm's own intermediate layers give, joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor

from pvrbench.benchmark.cli import main
from pvrbench.encoders.base import EncoderFaultError
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.checks import check_encoder
from pvrbench.encoders.families import timm_backbone
from pvrbench.encoders.families.side_by_side import load
from pvrbench.encoders.preprocessing import preprocess
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.location import absent_files, weights_present

_SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 4, "img_size": 28}
ROW = replace(ENCODERS["openvla_dinosiglip"], image_size=28, grid_side=2, feature_dim=96)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[EncoderSpec]:
    """The rows of the towers at a small size, with weights on this machine."""
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    rows = [
        replace(row, image_size=28, grid_side=2, feature_dim=48, options={**row.options, **_SMALL})
        for row in (ENCODERS[name] for name in ROW.parts)
    ]
    small = {row.name: row for row in rows}
    monkeypatch.setattr("pvrbench.encoders.catalog.ENCODERS", {**ENCODERS, **small})
    for seed, row in enumerate(rows):
        network = timm_backbone.load(replace(row, weights=None, options={**row.options, "seed": seed})).network
        save_file(network.state_dict(), tmp_path / f"{row.name}.safetensors")
    return rows


def frames() -> Tensor:
    return torch.randint(0, 256, (2, 40, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def test_the_towers_of_openvla_are_joined_as_its_code_joins_them(parts: list[EncoderSpec]) -> None:
    """Source: openvla/openvla c8f03f4, `prismatic/models/backbones/vision/dinosiglip_vit.py`."""
    expected: list[Tensor] = []
    for row in parts:
        model = cast("Any", timm_backbone.load(row).network)
        tokens = model.get_intermediate_layers(preprocess(frames(), row), n={len(model.blocks) - 2})[0]
        expected.append(tokens.transpose(1, 2).reshape(2, 48, 2, 2))
    found = load(ROW).encode(frames()).grid
    assert found is not None
    assert torch.equal(found, torch.cat(expected, dim=1))


def test_it_keeps_every_promise_and_knows_its_parts_by_content(parts: list[EncoderSpec], tmp_path: Path) -> None:
    assert [f"{verdict.name}: {verdict.problem}" for verdict in check_encoder(load(ROW)) if verdict.problem] == []
    first = load(ROW).digest
    assert load(replace(ROW, options={"block": -1})).digest != first
    file = tmp_path / f"{parts[1].name}.safetensors"
    network = timm_backbone.load(replace(parts[1], weights=None, options={**parts[1].options, "seed": 7})).network
    save_file(network.state_dict(), file)
    assert load(ROW).digest != first


def test_parts_that_are_absent_are_named(parts: list[EncoderSpec], tmp_path: Path) -> None:
    assert weights_present(ROW)
    (tmp_path / f"{parts[1].name}.safetensors").unlink()
    assert not weights_present(ROW)
    assert absent_files(ROW) == ("siglip_so400m14.safetensors",)


def test_weights_of_the_parts_are_fetched_under_their_own_licences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["weights", "fetch", "openvla_dinosiglip"]) == 1
    shown = capsys.readouterr().err
    assert [f"the weights of {name} are under Apache-2.0" in shown for name in ROW.parts] == [True, True]


def test_grids_of_different_sizes_are_refused() -> None:
    row = replace(ROW, parts=("dinov2_vitl14", "mae_vitb16"))
    with pytest.raises(EncoderFaultError, match="cannot be joined: dinov2_vitl14 16, mae_vitb16 14"):
        load(row)
