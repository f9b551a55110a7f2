"""V-JEPA 2.1 from a file in its authors' layout gives the values of their code; docs/parity.md names it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.checks import check_encoder
from pvrbench.encoders.families.vjepa import build, load
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.loading import WeightsError, import_weights, verify

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "vjepa.json").read_text())
ROW = ENCODERS["vjepa21_vitb16_384"]


def small() -> EncoderSpec:
    options = {"depth": 2, "num_heads": 2}
    return replace(ROW, name="small", image_size=48, grid_side=3, feature_dim=96, options=options)


def official_file() -> dict[str, Any]:
    """The published layout: the encoder in two wrappers, with the path of videos, beside the predictor."""
    generator = torch.Generator().manual_seed(31)
    shapes = {name: value.shape for name, value in build(small()).state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, shape in sorted(shapes.items()):
        noise = torch.randn(shape, generator=generator)
        spread = shape[1:].numel() ** 0.5 if len(shape) > 1 and shape[0] > 1 else 10
        weights[f"module.backbone.{name}"] = noise / spread + ("norm" in name and name.endswith("weight"))
    videos = {f"module.backbone.{name}": torch.zeros(3) for name in ("patch_embed.proj.weight", "video_mod_embed")}
    return {"ema_encoder": weights | videos, "predictor": {"module.mask": torch.zeros(3)}, "epoch": 3}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderSpec:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    torch.save(official_file(), tmp_path / "vjepa2_1_vitb_dist_vitG_384.pt")
    import_weights(small(), tmp_path / "vjepa2_1_vitb_dist_vitG_384.pt")
    return small()


def test_values_are_those_of_the_official_code(spec: EncoderSpec) -> None:
    assert verify(spec) == ""
    generator = torch.Generator().manual_seed(5)
    frames = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8, generator=generator)
    grid = load(spec).encode(frames).grid
    assert grid is not None
    assert grid.shape == (2, 96, 3, 3)
    torch.testing.assert_close(grid.flatten()[::144], torch.tensor(GOLDEN), rtol=0, atol=1e-5)


def test_the_encoder_keeps_every_promise(spec: EncoderSpec) -> None:
    assert [f"{verdict.name}: {verdict.problem}" for verdict in check_encoder(load(spec)) if verdict.problem] == []


def test_a_row_describes_its_network() -> None:
    with torch.device("meta"):
        network = build(ROW)
    assert sum(value.numel() for value in network.parameters()) == pytest.approx(ROW.num_params, abs=5e4)
    assert ROW.image_size == 16 * ROW.grid_side


def test_another_file_is_refused(spec: EncoderSpec, tmp_path: Path) -> None:
    torch.save({"encoder": {}}, tmp_path / "vitl.pt")
    with pytest.raises(WeightsError, match=r"cannot be converted by .*vjepa:convert .KeyError: 'ema_encoder'"):
        import_weights(spec, tmp_path / "vitl.pt")
