"""Readouts: what each gives, that it is seeded, and the values of the published layers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import Readout, compact, load_readout
from pvrbench.encoders.readouts.catalog import READOUTS, applies
from pvrbench.encoders.readouts.modules import RMSNorm
from pvrbench.encoders.readouts.principal_components import PrincipalComponents
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import EncoderSpec

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "readouts.json").read_text())
TRAINED = ("spatial_softmax", "compression", "conv_neck", "attention", "cnn")


def features(rows: int = 6, channels: int = 64, side: int = 14, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    return Features(
        class_token=torch.randn(rows, channels, generator=generator),
        grid=torch.randn(rows, channels, side, side, generator=generator),
        pooled=torch.randn(rows, 10, generator=generator),
    )


def trained(name: str, rows: Tensor, seed: int = 0, budget_dim: int | None = None) -> nn.Module:
    stage = load_readout(READOUTS[name]).fit(rows, seed, budget_dim)
    assert stage is not None
    return stage


def width(name: str, found: Features, budget_dim: int | None = None) -> int:
    rows = load_readout(READOUTS[name]).read(found)
    stage = load_readout(READOUTS[name]).fit(rows, 0, budget_dim)
    return (rows if stage is None else stage(rows)).shape[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("class_token", 64),
        ("mean", 64),
        ("class_mean", 128),
        ("pooled", 10),
        ("grid2", 4 * 64),
        ("grid4", 16 * 64),
        ("grid7", 49 * 64),
        ("grid_pca", 6),
        ("spatial_softmax", 64),
        ("compression", 1960),
        ("conv_neck", 256),
        ("attention", 64),
    ],
)
def test_widths_of_the_readouts(name: str, expected: int) -> None:
    assert width(name, features()) == expected


def test_every_row_of_the_catalog_can_be_read_and_fitted() -> None:
    for name in READOUTS:
        assert width(name, features(channels=3 if name.startswith("cnn") else 64)) > 0


@pytest.mark.parametrize("name", TRAINED)
def test_initialisation_depends_on_the_seed_alone(name: str) -> None:
    rows = load_readout(READOUTS[name]).read(features(channels=3 if name.startswith("cnn") else 64))
    stages: list[Tensor] = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(noise)
        stages.append(trained(name, rows, seed)(rows))
    assert torch.equal(stages[0], stages[1])
    assert not torch.equal(stages[0], stages[2])


@pytest.mark.parametrize("name", TRAINED)
def test_trained_stages_can_be_trained_many_at_once(name: str) -> None:
    rows = load_readout(READOUTS[name]).read(features(channels=3 if name.startswith("cnn") else 64))
    stages = [trained(name, rows, seed, 16) for seed in range(2)]
    parameters, buffers = stack_module_state(stages)

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return functional_call(stages[0], (parameters, buffers), (rows,)).square().mean()

    gradients = torch.func.vmap(torch.func.grad(loss))(parameters, buffers)
    alone = torch.autograd.grad(stages[1](rows).square().mean(), list(stages[1].parameters()))
    for (key, stacked), single in zip(gradients.items(), alone, strict=True):
        torch.testing.assert_close(stacked[1], single, rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", [name for name in READOUTS if name != "cnn"])
def test_a_row_does_not_depend_on_its_companions(name: str) -> None:
    rows = load_readout(READOUTS[name]).read(features())
    stage = load_readout(READOUTS[name]).fit(rows, 0, None)
    alone = load_readout(READOUTS[name]).read(_first(features()))
    if stage is not None:
        rows, alone = stage(rows), stage(alone)
    torch.testing.assert_close(rows[:1], alone, rtol=1e-5, atol=1e-6)


def _first(found: Features) -> Features:
    assert found.class_token is not None
    assert found.grid is not None
    assert found.pooled is not None
    return Features(found.class_token[:1], found.grid[:1], found.pooled[:1])


def test_equal_budget_makes_wide_and_narrow_encoders_train_the_same_number_of_parameters_after_the_projection() -> None:
    def after(channels: int) -> int:
        rows = load_readout(READOUTS["attention"]).read(features(channels=channels))
        stage = trained("attention", rows, 0, 32)
        return sum(p.numel() for p in stage.parameters()) - 32 * channels

    assert after(64) == after(192)
    assert width("class_token", features(), budget_dim=32) == 32
    assert width("grid_pca", features(), budget_dim=4) == 4


@pytest.mark.parametrize(("channels", "millions"), [(384, 2.5), (768, 10.0), (1024, 17.8)])
def test_attention_has_the_size_of_the_published_block(channels: int, millions: float) -> None:
    stage = trained("attention", torch.zeros(2, channels, 2, 2))
    assert sum(p.numel() for p in stage.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_principal_components_see_the_training_rows_alone_and_are_those_of_a_singular_value_decomposition() -> None:
    for num_rows, num_columns in ((40, 12), (10, 30)):
        rows = torch.randn(num_rows, num_columns, generator=torch.Generator().manual_seed(3))
        stage = PrincipalComponents(rows, 5)
        expected = (rows - rows.mean(0)).svd().V.T[:5]
        torch.testing.assert_close((stage.components @ expected.T).abs(), torch.eye(5), rtol=0, atol=1e-4)
        coordinates = stage(rows)
        assert coordinates.mean(0).abs().max() < 1e-5
        assert (coordinates.var(0).diff() < 1e-6).all(), "components are not whitened and come largest first"


def test_principal_components_of_rows_that_do_not_vary_are_zero() -> None:
    rows = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).expand(5, 8)
    # The mean of equal rows may be off by its last bit; nothing may blow that up.
    assert PrincipalComponents(rows, 3)(rows).abs().max() < 1e-6


def test_spatial_softmax_finds_the_position_of_a_peak() -> None:
    grid = torch.zeros(1, 32, 5, 9)
    grid[..., 1, 6] = 1e3
    stage = trained("spatial_softmax", grid)
    with torch.no_grad():
        next(stage.parameters()).copy_(torch.eye(32)[:, :, None, None])
    x, y = stage(grid)[0, :2].tolist()
    assert (x, y) == pytest.approx((6 / 4 - 1, 1 / 2 - 1))


def test_rms_norm_agrees_with_torch() -> None:
    x = torch.randn(7, 48)
    torch.testing.assert_close(RMSNorm(48)(x), torch.nn.RMSNorm(48, eps=1e-12)(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_values_are_those_of_the_published_code(name: str) -> None:
    """The numbers were produced by the official implementations with these seeded parameters."""
    grid = features(rows=2).grid
    assert grid is not None
    stage = trained(name, grid)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for _, parameter in sorted(stage.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter[0].numel() + 1))
        values = stage(grid)[:, :16]
    torch.testing.assert_close(values, torch.tensor(GOLDEN[name]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("side", "kept"), [(7, 7), (8, 8), (14, 7), (16, 8), (24, 8), (28, 7), (32, 8), (48, 8)])
def test_compact_averages_whole_blocks(side: int, kept: int) -> None:
    found = features(side=side)
    grid = compact(found).grid
    assert grid is not None
    assert grid.shape[-1] == kept
    assert found.grid is not None
    torch.testing.assert_close(grid.mean((2, 3)), found.grid.mean((2, 3)))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="Readout 'class_token' reads class_token, which the encoder does not give"):
        load_readout(READOUTS["class_token"]).read(Features(grid=torch.zeros(1, 2, 3, 3)))


@pytest.mark.parametrize("budget_dim", [None, 16])
@pytest.mark.parametrize("name", sorted(READOUTS))
def test_a_saved_module_is_rebuilt_without_data(name: str, budget_dim: int | None) -> None:
    readout = load_readout(READOUTS[name])
    rows = readout.read(features(channels=3 if name.startswith("cnn") else 64))
    fitted, empty = readout.fit(rows, 3, budget_dim), readout.empty(tuple(rows.shape[1:]), budget_dim)
    if fitted is None:
        assert empty is None
        return
    assert empty is not None
    empty.load_state_dict(fitted.state_dict(), strict=True)
    assert torch.equal(empty(rows), fitted(rows))


@pytest.mark.parametrize("budget_dim", [None, 32])
@pytest.mark.parametrize("name", ["grid_pca", *TRAINED])
def test_sizes_of_stages_are_those_of_their_rows(name: str, budget_dim: int | None) -> None:
    (channels, side), spec = (3, 84) if name == "cnn" else (64, 14), READOUTS[name]
    found = features(rows=260 if name == "grid_pca" else 4, channels=channels, side=side)
    rows = load_readout(spec).read(found if spec.raw_grid else compact(found))
    size = sum(values.numel() for values in trained(name, rows, budget_dim=budget_dim).state_dict().values())
    encoder = EncoderSpec(name="own", entry_point="own:Own", objective="none", feature_dim=channels, grid_side=side)
    if name == "grid_pca" and budget_dim is not None:
        assert spec.num_weights(encoder, budget_dim) > size, "a budget makes for fewer components"
    else:
        assert spec.num_weights(encoder, budget_dim) == pytest.approx(size, rel=0.05)


def test_components_of_another_encoder_are_refused() -> None:
    readout = load_readout(READOUTS["grid_pca"])
    empty = readout.empty((128,), None)
    assert empty is not None
    with pytest.raises(RuntimeError, match="size mismatch for mean"):
        empty.load_state_dict(PrincipalComponents(torch.randn(9, 64), 4).state_dict())


VIT = EncoderSpec(name="vit", entry_point="m:f", objective="o", feature_dim=64, grid_side=14)


@pytest.mark.parametrize("name", sorted(set(READOUTS) - {"pooled"}))
def test_the_width_that_the_head_is_given_is_known_without_loading(name: str) -> None:
    encoder = replace(VIT, feature_dim=3, grid_side=84) if name.startswith("cnn") else VIT
    found = features(rows=300, channels=encoder.feature_dim, side=encoder.grid_side)
    kept = found if READOUTS[name].raw_grid else compact(found)
    for budget_dim in (None, 32):
        readout = load_readout(READOUTS[name])
        rows = readout.read(kept)
        module = readout.fit(rows, 0, budget_dim)
        given = (rows if module is None else module(rows[:2])).shape[1]
        if budget_dim is None or READOUTS[name].width == 0:
            # The compression layer rounds to whole channels.
            assert READOUTS[name].output_dim(encoder, budget_dim) == pytest.approx(given, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 0}, r"Readout 'mine': option side=0 is not valid: input should be greater than 0\."),
        ({"side": "4"}, r"Readout 'mine': option side='4' is not valid: input should be a valid integer\."),
        ({}, r"Readout 'mine': option side is not valid: field required\."),
        ({"side": 2, "size": 2}, r"Readout 'mine' has no option 'size'\. It has side\."),
    ],
)
def test_options_are_checked(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_readout(replace(READOUTS["grid2"], name="mine", options=options))


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("absent:Thing", "'absent:Thing' cannot be imported: ModuleNotFoundError"),
        ("json:Thing", "json has no attribute 'Thing'"),
        ("json", "is not an entry point. Write it as module:attribute"),
        ("builtins:repr", "gives a str, which lacks spec, read, fit or empty"),
    ],
)
def test_an_entry_point_that_is_no_readout_is_refused_in_one_line(entry_point: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load_readout(replace(READOUTS["mean"], entry_point=entry_point))
    assert "\n" not in str(error.value)


class MaxPooling:
    """A readout of somebody else's, which shares nothing with those here but the protocol."""

    def __init__(self, spec: ReadoutSpec) -> None:
        self.spec = spec

    def read(self, features: Features) -> Tensor:
        assert features.grid is not None
        return features.grid.amax(dim=(2, 3))

    def fit(self, train_features: Tensor, seed: int, budget_dim: int | None) -> nn.Module | None:
        del seed
        return self.empty(tuple(train_features.shape[1:]), budget_dim)

    def empty(self, feature_shape: tuple[int, ...], budget_dim: int | None) -> nn.Module | None:
        del feature_shape, budget_dim


def test_a_readout_may_bring_code_of_its_own() -> None:
    spec = ReadoutSpec(name="max", entry_point=f"{__name__}:MaxPooling", description="max", reads=("grid",))
    readout = load_readout(spec)
    assert isinstance(readout, Readout)
    found = features()
    assert found.grid is not None
    assert torch.equal(readout.read(found), found.grid.flatten(2).max(dim=2).values)


def test_which_readouts_apply_to_which_encoders() -> None:
    vit = replace(VIT, feature_dim=384)
    pixels = EncoderSpec(name="pixels", entry_point="m:f", objective="o", outputs=("grid",), feature_dim=3, grid_side=7)
    small = EncoderSpec(name="small", entry_point="m:f", objective="o", outputs=("grid",), feature_dim=512, grid_side=4)
    assert applies(READOUTS["class_token"], vit)
    assert not applies(READOUTS["class_token"], pixels)
    assert not applies(READOUTS["pooled"], vit)
    assert applies(READOUTS["grid4"], small)
    assert not applies(READOUTS["grid7"], small)
    assert applies(READOUTS["cnn"], pixels)
    assert not applies(READOUTS["cnn"], vit)
    alone = replace(pixels, only_readouts=("cnn",))
    assert [name for name in READOUTS if applies(READOUTS[name], alone)] == ["cnn"]
