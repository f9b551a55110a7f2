"""From trained weights to an encoder: int8, loading path, contract, probe."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.provenance import provenance
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.checks import check_encoder
from pvrbench.encoders.rows.zoo import ZOO_ENCODERS, zoo_row
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.loading import WeightsError
from pvrbench.encoders.weights.location import SHIPPED
from pvrbench.encoders.weights.official_file import sha256_of
from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.masked import ConditionedAutoencoder
from pvrbench.encoders.zoo.pretraining.probe import probe_encoder
from pvrbench.encoders.zoo.pretraining.quantisation import dequantise, quantise
from pvrbench.encoders.zoo.pretraining.retrieval import retrieval_picture, spread
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import START, Vocabulary
from pvrbench.encoders.zoo.pretraining.training import build_objective

MakeSpec = Callable[..., ObjectiveSpec]
SHIPPED_NAMES = sorted(name for name, row in ZOO_ENCODERS.items() if row.weights is not None)
VOCABULARY = Vocabulary(["push the red block"])


def load(row: EncoderSpec) -> Encoder:
    return cast("Encoder", pkgutil.resolve_name(row.entry_point)(row))


def stored(spec: ObjectiveSpec, path: Path) -> EncoderSpec:
    save_file(quantise(build_objective(spec, VOCABULARY).export()), path)
    return zoo_row(spec, f"file:{path}")


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_stored_encoders_keep_the_contract(name: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(name)
    row = stored(spec, tmp_path / "weights.safetensors")
    encoder = load(row)
    problems = [f"{verdict.name}: {verdict.problem}" for verdict in check_encoder(encoder) if verdict.problem]
    assert problems == []
    found = encoder.encode(torch.zeros(2, 40, 48, 3, dtype=torch.uint8))
    assert found.grid is not None
    assert found.grid.shape == (2, row.feature_dim, row.grid_side, row.grid_side)
    assert (found.class_token is not None) == ("class_token" in row.outputs)


@pytest.mark.parametrize("block", ["down_0", "down_1", "mid", "up_0", "up_1"])
def test_rows_of_diffusion_know_the_size_of_each_block(block: str, make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("dift")
    spec = dataclasses.replace(spec, options={**spec.options, "block": block})
    row = stored(spec, tmp_path / "weights.safetensors")
    grid = load(row).encode(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).grid
    assert grid is not None
    assert grid.shape[1:] == (row.feature_dim, row.grid_side, row.grid_side)


@pytest.mark.parametrize("name", ["mae", "vcond", "dift"])
def test_int8_weights_give_nearly_the_same_features(name: str, tmp_path: Path) -> None:
    spec = OBJECTIVES[name]
    weights = build_objective(spec, VOCABULARY).export()
    images = torch.randint(0, 256, (4, 14, 14, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = images.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    features: list[Features] = []
    for kind, tensors in (("whole", weights), ("small", quantise(weights))):
        save_file(tensors, tmp_path / f"{kind}.safetensors")
        features.append(load(zoo_row(spec, f"file:{tmp_path}/{kind}.safetensors")).encode(images))
    for field in spec.outputs:
        whole, small = (getattr(found, field).flatten(1) for found in features)
        assert torch.nn.functional.cosine_similarity(whole, small, dim=1).min() > 0.999, field
    assert (tmp_path / "small.safetensors").stat().st_size < 0.3 * (tmp_path / "whole.safetensors").stat().st_size


def test_quantisation_is_exact_to_half_a_step() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "matrix": torch.randn(64, 32, generator=generator) * torch.logspace(-3, 1, 64)[:, None],
        "kernel": torch.randn(8, 3, 16, 16, generator=generator),
        "zero": torch.zeros(64, 64),
        "table": torch.randn(1, 50, 64, generator=generator),
        "bias": torch.randn(2000, generator=generator),
        "scalar": torch.tensor(1.25),
    }
    packed = quantise(weights)
    assert {name for name, value in packed.items() if value.dtype == torch.int8} == {"matrix", "kernel", "zero"}
    restored = dequantise(packed)
    assert restored.keys() == weights.keys()
    for name in ("matrix", "kernel", "zero"):
        step = weights[name].flatten(1).abs().amax(dim=1) / 127
        assert ((restored[name] - weights[name]).flatten(1).abs().amax(dim=1) <= step * 0.5001).all(), name
    assert torch.equal(restored["bias"], weights["bias"])
    assert torch.equal(restored["scalar"], weights["scalar"])
    assert torch.allclose(restored["table"], weights["table"], rtol=1e-3)


def test_weights_that_cannot_be_stored_are_named() -> None:
    with pytest.raises(ValueError, match="Weight 'a' is not finite"):
        quantise({"a": torch.tensor([float("nan")])})
    with pytest.raises(ValueError, match=r"Weight 'a\.scale' has the name of a scale"):
        quantise({"a.scale": torch.ones(2)})


def test_an_exported_vcond_sees_what_it_saw_with_an_empty_caption(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("vcond")
    objective = build_objective(spec, VOCABULARY)
    assert isinstance(objective, ConditionedAutoencoder)
    torch.manual_seed(0)
    for parameter in objective.parameters():
        if not parameter.requires_grad:
            continue
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    save_file(objective.export(), tmp_path / "weights.safetensors")
    encoder = load(zoo_row(spec, f"file:{tmp_path}/weights.safetensors"))
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    from pvrbench.encoders.zoo.pretraining.backbone import class_token, patch_tokens
    from pvrbench.encoders.zoo.pretraining.base import Batch, normalise, to_pixels

    pixels = normalise(to_pixels(images))
    tokens = torch.cat([class_token(objective.network, 2), patch_tokens(objective.network, pixels)], dim=1)
    nothing = torch.tensor([[START, 2], [START, 2]])
    batch = Batch(images[:, None], nothing, torch.zeros(2, dtype=torch.long), torch.Generator(), 0.0, "all")
    with torch.no_grad():
        states = objective.encode(tokens, batch)
    found = encoder.encode(images)
    assert found.class_token is not None
    assert found.grid is not None
    assert torch.allclose(found.class_token, states[:, 0], atol=1e-4)
    assert torch.allclose(found.grid.flatten(2).transpose(1, 2), states[:, 1:], atol=1e-4)


def test_weights_of_another_network_are_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    stored(make_spec("mae"), tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="do not fit 'zoo_simclr'"):
        load(zoo_row(OBJECTIVES["simclr"], f"file:{tmp_path}/weights.safetensors"))
    with pytest.raises(WeightsError, match="do not fit 'zoo_dift'"):
        load(zoo_row(make_spec("dift"), f"file:{tmp_path}/weights.safetensors"))


def test_rows_are_only_for_weights_that_ship() -> None:
    for name, row in ZOO_ENCODERS.items():
        assert ENCODERS[name] is row
        assert row.weights is None or (SHIPPED / f"{name.removeprefix('zoo_')}.safetensors").is_file()


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_shipped_weights_are_those_of_their_card(name: str) -> None:
    row = ZOO_ENCODERS[name]
    objective = OBJECTIVES[name.removeprefix("zoo_")]
    card = json.loads((SHIPPED / f"{objective.name}.json").read_text())
    assert row.weights is not None
    assert card["weights"]["sha256"] == row.weights.sha256
    assert card["beats_trivial"]["loss"]
    assert (Path(__file__).parents[5] / card["picture"]).is_file()
    # The recipe in the catalog is the one that made the weights.
    assert card["settings"]["num_samples"] == objective.recipe.num_samples
    assert {key: card["settings"][f"options.{key}"] for key in objective.options} == dict(objective.options)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8))
    features = pkgutil.resolve_name(row.entry_point)(row).encode(images)
    assert features.grid.shape == (2, row.feature_dim, row.grid_side, row.grid_side)


def test_the_zoo_is_small_and_of_one_set_of_frames_and_one_budget() -> None:
    files = sorted(SHIPPED.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) <= 28 * 2**20
    cards = [json.loads(path.with_suffix(".json").read_text()) for path in files]
    assert {path.stem for path in files} == set(OBJECTIVES)
    assert len({(card["data"]["digest"], card["settings"]["num_samples"]) for card in cards}) == 1


def test_untrained_twins_have_the_trained_networks_start_and_shape(tmp_path: Path) -> None:
    for twin, objective in (("random_zoo_vit", "mae"), ("random_zoo_unet", "dift")):
        row = ZOO_ENCODERS[twin]
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), np.uint8))
        first, again = (pkgutil.resolve_name(row.entry_point)(row) for _ in range(2))
        assert first.digest == again.digest
        path = tmp_path / f"{objective}.safetensors"
        save_file(quantise(build_objective(OBJECTIVES[objective], Vocabulary([])).export()), path)
        trained = zoo_row(OBJECTIVES[objective], f"file:{path}")
        stored = pkgutil.resolve_name(trained.entry_point)(trained)
        for name in row.outputs:
            ours, theirs = (getattr(encoder.encode(images), name) for encoder in (first, stored))
            assert ours.shape == theirs.shape
            # The same distribution, drawn anew: as large, and another network.
            assert 0.5 < float(ours.std() / theirs.std()) < 2
            assert not torch.allclose(ours, theirs, rtol=0.1)


class Positions:
    """Gives away where the square is, and a constant."""

    def __init__(self, frames: PretrainingFrames, spec: EncoderSpec) -> None:
        self.spec, self.digest = spec, ""
        self._known = {frames.images[i].tobytes(): frames.object_pixels[i, 0] for i in range(len(frames.images))}

    def encode(self, inputs: Any) -> Features:
        rows = np.stack([self._known[image.numpy().tobytes()] for image in inputs])
        return Features(class_token=torch.from_numpy(rows @ np.array([[1.0, 2], [-1, 3]], np.float32)))

    def to(self, device: str) -> Positions:
        del device
        return self


def test_the_probe_reads_positions_that_are_there(frames: PretrainingFrames) -> None:
    encoder = Positions(frames, ENCODERS["proprio"])
    found = probe_encoder(cast("Encoder", encoder), frames, 0.25)["class_token"]
    assert found.r2 > 0.99
    assert found.error < 0.01 < found.mean_error
    assert (found.num_train, found.num_test) == (72, 24)


def test_retrieval_shows_queries_and_neighbours(frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path) -> None:
    encoder = load(stored(make_spec("simclr"), tmp_path / "weights.safetensors"))
    picture = retrieval_picture(encoder, frames, 0.25)
    assert picture.shape == (6 * 32, 6 * 32 + 4, 3)
    assert 0 < spread(encoder, frames) < 1


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_the_record_of_a_shipped_encoder_names_its_weights_alike_on_every_machine(name: str) -> None:
    recorded = provenance("cpu", "", compose_config([]).engine, ZOO_ENCODERS[name], {}).encoder
    assert recorded["weights"] == f"shipped:{name.removeprefix('zoo_')}.safetensors"
    assert recorded["weights_sha256"] == sha256_of(SHIPPED / f"{name.removeprefix('zoo_')}.safetensors")


def test_the_record_of_weights_of_ones_own_names_the_file_and_not_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"")
    recorded = provenance(
        "cpu", "", compose_config([]).engine, zoo_row(OBJECTIVES["mae"], f"file:{tmp_path}/mine.safetensors"), {}
    ).encoder
    assert recorded["weights"] == "file:mine.safetensors"
