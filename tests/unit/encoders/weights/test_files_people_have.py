"""Checkpoints as people have them: training wrappers, other copies, other layouts, other formats."""

from __future__ import annotations

import pathlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor, nn

from pvrbench.encoders.families.timm_backbone import TimmEncoder, load
from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.file_format import read
from pvrbench.encoders.weights.loading import WeightsError, import_weights

Weights = dict[str, Tensor]
FRAMES = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
ARGUMENTS: dict[str, Any] = {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 4}


def spec_of(path: Path, model: str, **options: Any) -> EncoderSpec:
    return EncoderSpec(
        name="tiny",
        entry_point="pvrbench.encoders.families.timm_backbone:load",
        objective="test",
        image_size=options.get("img_size", 32),
        feature_dim=48,
        weights=WeightsSource(uri=f"file:{path}"),
        options={"model": model, **ARGUMENTS, **options},
    )


def network(model: str = "vit_tiny_patch16_224", seed: int = 0, **options: Any) -> nn.Module:
    """A network in which no two tensors are alike."""
    arguments: dict[str, Any] = {"num_classes": 0, **ARGUMENTS, **options}
    built = timm.create_model(model, **arguments)
    generator = torch.Generator().manual_seed(seed)
    for parameter in built.parameters():
        parameter.detach().copy_(torch.randn(parameter.shape, generator=generator) / 5)
    return built


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def features(encoder: TimmEncoder) -> Tensor:
    grid = encoder.encode(FRAMES).grid
    assert grid is not None
    return grid


def expected(model: nn.Module, spec: EncoderSpec) -> Tensor:
    return features(TimmEncoder(spec, model))


def check(path: Path, model: nn.Module, name: str = "vit_tiny_patch16_224", **options: Any) -> TimmEncoder:
    """The file gives the features of the network that its tensors are from."""
    spec = spec_of(path, name, **options)
    encoder = load(spec)
    torch.testing.assert_close(features(encoder), expected(model, spec), rtol=0, atol=1e-5)
    return encoder


def wrapped(kind: str) -> tuple[object, nn.Module]:
    """A training's checkpoint, and the network that is meant."""
    model, other = network(), network(seed=1)
    own, copy = cast("Weights", model.state_dict()), cast("Weights", other.state_dict())
    files: dict[str, object] = {
        "a step counter that is a tensor": {"model": own, "epoch": torch.tensor(3)},
        "AveragedModel": torch.optim.swa_utils.AveragedModel(model).state_dict(),
        "Lightning": {"state_dict": prefixed("model.", own), "pytorch-lightning_version": "2"},
        "DistributedDataParallel": prefixed("module.", own),
        "torch.compile": prefixed("_orig_mod.", own),
        "all of them": {"state_dict": prefixed("module._orig_mod.net.backbone.", own)},
        "a policy": {"policy": {**prefixed("obs_encoder.rgb.", own), "head.weight": torch.zeros(2, 2)}},
        "MoCo": {
            "state_dict": {
                **prefixed("module.encoder_q.", own),
                **prefixed("module.encoder_k.", copy),
                "module.queue": torch.zeros(4, 8),
                "module.encoder_q.fc.0.weight": torch.zeros(4, 4),
            }
        },
        "MoCo v3": {
            "state_dict": {
                **prefixed("module.base_encoder.", own),
                **prefixed("module.momentum_encoder.", copy),
                "module.base_encoder.head.0.weight": torch.zeros(4, 4),
            }
        },
        "DINO": {
            "student": prefixed("module.backbone.", copy),
            "teacher": {**prefixed("backbone.", own), "head.mlp.0.weight": torch.zeros(2, 2)},
            "epoch": 3,
        },
        "DINOv2": {"model": {**prefixed("teacher.backbone.", own), **prefixed("student.backbone.", copy)}},
        "raw beside its average": {"model": own, "model_ema": copy, "optimizer": {"state": {0: {"m": torch.zeros(2)}}}},
        "numpy numbers, paths, arguments": {
            "state_dict": own,
            "best": np.float64(0.7),
            "step": np.int64(3),
            "history": np.zeros(3),
            "path": pathlib.Path("a") / "b",
        },
        "numpy arrays": {name: value.numpy() for name, value in own.items()},
    }
    return files[kind], model


@pytest.mark.parametrize(
    "kind",
    [
        "a step counter that is a tensor",
        "AveragedModel",
        "Lightning",
        "DistributedDataParallel",
        "torch.compile",
        "all of them",
        "a policy",
        "MoCo",
        "MoCo v3",
        "DINO",
        "DINOv2",
        "raw beside its average",
        "numpy numbers, paths, arguments",
        "numpy arrays",
    ],
)
def test_the_network_is_found_in_what_training_wraps_it_in(kind: str, tmp_path: Path) -> None:
    content, model = wrapped(kind)
    torch.save(content, tmp_path / "file.pt")
    check(tmp_path / "file.pt", model)


@pytest.mark.parametrize(
    ("content", "taken", "asked"),
    [
        (("model", "model_ema"), "model", "model_ema"),
        (("student", "teacher"), "teacher", "student"),
        (("encoder_q", "encoder_k"), "encoder_q", "encoder_k"),
    ],
)
def test_of_several_copies_one_is_taken_by_rule_and_said_and_another_may_be_chosen(
    content: tuple[str, str], taken: str, asked: str, tmp_path: Path
) -> None:
    models = {name: network(seed=index) for index, name in enumerate(content)}
    torch.save({name: model.state_dict() for name, model in models.items()}, tmp_path / "file.pt")
    first = check(tmp_path / "file.pt", models[taken])
    assert first.spec.options["key"] == taken
    other = check(tmp_path / "file.pt", models[asked], key=asked)
    assert other.digest != first.digest
    assert check(tmp_path / "file.pt", models[taken], key=taken).digest == first.digest
    with pytest.raises(WeightsError, match=rf"no single network under key=absent. It holds {content[0]}, {content[1]}"):
        load(spec_of(tmp_path / "file.pt", "vit_tiny_patch16_224", key="absent"))


def test_copies_that_may_mean_either_are_refused_with_how_to_choose(tmp_path: Path) -> None:
    torch.save({"a": network().state_dict(), "b": network(seed=1).state_dict()}, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match=r"holds 2 sets of tensors .a, b.; .*key=a"):
        load(spec_of(tmp_path / "file.pt", "vit_tiny_patch16_224"))


_VIT = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "attn.qkv": "attention.attention.{}:query,key,value",
    "block": "encoder.layer",
}
_DINOV2 = _VIT | {
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
}
_CLIP = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding.weight",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm_pre": "pre_layrnorm",
    "norm": "post_layernorm",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "attn.qkv": "self_attn.{}_proj:q,k,v",
    "block": "encoder.layers",
    "attn_pool.latent": "head.probe",
    "attn_pool.proj": "head.attention.out_proj",
    "attn_pool.norm": "head.layernorm",
    "attn_pool.mlp.fc1": "head.mlp.fc1",
    "attn_pool.mlp.fc2": "head.mlp.fc2",
}


def in_transformers(model: nn.Module, names: Mapping[str, str], prefix: str) -> Weights:
    """The tensors of a network under the names, and in the shapes, of transformers' classes."""
    own, file = cast("Weights", model.state_dict()), Weights()
    for kind in ("weight", "bias"):
        if f"attn_pool.q.{kind}" in own:
            joined = torch.cat([own.pop(f"attn_pool.q.{kind}"), own.pop(f"attn_pool.kv.{kind}")])
            file[f"{prefix}head.attention.in_proj_{kind}"] = joined
    for name, value in own.items():
        where, rest = prefix, name
        if (found := re.match(r"blocks\.(\d+)\.(.+)", name)) is not None:
            where, rest = f"{prefix}{names['block']}.{found[1]}.", found[2]
        layer, kind = (rest, "") if rest in names else (rest.rpartition(".")[0], "." + rest.rpartition(".")[2])
        if layer == "attn.qkv":
            pattern, _, parts = names[layer].partition(":")
            for part, chunk in zip(parts.split(","), value.chunk(3), strict=True):
                file[where + pattern.format(part) + kind] = chunk.clone()
        else:
            file[where + names[layer] + kind] = value
    return file


@pytest.mark.parametrize(
    ("model", "names", "prefix"),
    [
        ("vit_tiny_patch16_224", _VIT, ""),
        ("vit_tiny_patch16_224", _VIT, "vit."),
        ("vit_small_patch14_dinov2", _DINOV2, ""),
        ("vit_base_patch16_clip_quickgelu_224", _CLIP, "vision_model."),
        ("vit_base_patch16_siglip_224", _CLIP, "vision_model."),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_the_layouts_of_transformers_are_read(
    model: str, names: Mapping[str, str], prefix: str, wrapper: str, tmp_path: Path
) -> None:
    options = {"img_size": 28} if "patch14" in model else {}
    built = network(model, **options)
    file = in_transformers(built, names, wrapper + prefix)
    if "embeddings.class_embedding" in names.values() and "clip" in model:
        file[f"{wrapper}vision_model.embeddings.class_embedding"] = built.state_dict()["cls_token"].flatten()
        file[f"{wrapper}vision_model.embeddings.position_embedding.weight"] = built.state_dict()["pos_embed"][0]
        # The text tower has blocks of the same names.
        file |= {
            name.replace("vision_model", "text_model"): torch.zeros_like(value)
            for name, value in file.items()
            if "encoder.layers" in name or "position_embedding" in name
        }
        file["text_model.embeddings.token_embedding.weight"] = torch.zeros(5, 48)
        file["visual_projection.weight"], file["logit_scale"] = torch.zeros(8, 48), torch.ones(())
    if prefix == "vit.":  # ViTMAE
        file[f"{wrapper}decoder.decoder_embed.weight"] = torch.zeros(4, 48)
        file[f"{wrapper}decoder.mask_token"] = torch.zeros(1, 1, 4)
    save_file(file, tmp_path / "model.safetensors")
    encoder = check(tmp_path / "model.safetensors", built, model, **options)
    assert "key" not in encoder.spec.options


def test_registers_of_transformers_lie_where_timm_has_them(tmp_path: Path) -> None:
    built = network("vit_small_patch14_reg4_dinov2", img_size=28)
    own = cast("Weights", built.state_dict())
    file = in_transformers(built, {**_DINOV2, "reg_token": "embeddings.register_tokens"}, "")
    # In the published files the class token has a position of its own, which timm has added to it.
    position = torch.randn(1, 1, 48)
    file["embeddings.cls_token"] = own["cls_token"] - position
    file["embeddings.position_embeddings"] = torch.cat([position, own["pos_embed"]], dim=1)
    file["embeddings.mask_token"] = torch.zeros(1, 48)
    save_file(file, tmp_path / "model.safetensors")
    check(tmp_path / "model.safetensors", built, "vit_small_patch14_reg4_dinov2", img_size=28)


def test_blocks_that_dinov2_trains_in_chunks_are_read(tmp_path: Path) -> None:
    built = network("vit_small_patch14_dinov2", img_size=28)
    file = {
        re.sub(r"^blocks\.(\d+)\.", r"blocks.0.\1.", name): value
        for name, value in cast("Weights", built.state_dict()).items()
    }
    torch.save({"teacher": prefixed("backbone.", file)}, tmp_path / "file.pth")
    check(tmp_path / "file.pth", built, "vit_small_patch14_dinov2", img_size=28)


class _Clip(nn.Module):
    """The tensors of OpenAI's CLIP under its names; `forward` is only there to be scripted."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        for name, value in weights.items():
            holder: nn.Module = self
            *parents, leaf = name.split(".")
            for parent in parents:
                if not hasattr(holder, parent):
                    holder.add_module(parent, nn.Module())
                holder = cast("nn.Module", getattr(holder, parent))
            holder.register_parameter(leaf, nn.Parameter(value.clone()))

    def forward(self, x: Tensor) -> Tensor:
        return x


_OPENAI = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj", "conv1"),
    (r"^norm_pre", "ln_pre"),
    (r"^norm", "ln_post"),
    (r"^blocks\.(\d+)\.norm", r"transformer.resblocks.\1.ln_"),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"transformer.resblocks.\1.attn.in_proj_"),
    (r"^blocks\.(\d+)\.attn\.proj", r"transformer.resblocks.\1.attn.out_proj"),
    (r"^blocks\.(\d+)\.mlp\.fc1", r"transformer.resblocks.\1.mlp.c_fc"),
    (r"^blocks\.(\d+)\.mlp\.fc2", r"transformer.resblocks.\1.mlp.c_proj"),
)


def openai(model: nn.Module) -> Weights:
    file = Weights()
    for name, value in cast("Weights", model.state_dict()).items():
        new = name
        for old, replacement in _OPENAI:
            new = re.sub(old, replacement, new)
        file[f"visual.{new}"] = value.flatten() if name == "cls_token" else value[0] if name == "pos_embed" else value
    return file | {"visual.proj": torch.zeros(48, 8), "token_embedding.weight": torch.zeros(5, 8)}


@pytest.mark.parametrize("is_scripted", [False, True])
def test_openais_own_clip_files_are_read_with_their_code_left_alone(
    is_scripted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "vit_base_patch16_clip_quickgelu_224"
    built, file = network(name), tmp_path / "ViT-B-16.pt"
    if is_scripted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(_Clip(openai(built)), torch.zeros(1)), file)
    else:
        torch.save(openai(built), file)
    check(file, built, name)
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    source = WeightsSource(uri="hf:someone/clip/model.safetensors")
    row = replace(spec_of(file, name), weights=source)
    import_weights(row, file)
    torch.testing.assert_close(features(load(row)), expected(built, row), rtol=0, atol=1e-5)


def test_googles_npz_files_are_read_by_timms_reader(tmp_path: Path) -> None:
    built = network()
    own, arrays = cast("Weights", built.state_dict()), dict[str, Any]()
    arrays["cls"] = own["cls_token"].numpy()
    arrays["Transformer/posembed_input/pos_embedding"] = own["pos_embed"].numpy()
    arrays["embedding/kernel"] = own["patch_embed.proj.weight"].permute(2, 3, 1, 0).numpy()
    arrays["embedding/bias"] = own["patch_embed.proj.bias"].numpy()
    for theirs, ours in (("encoder_norm", "norm"),):
        arrays[f"Transformer/{theirs}/scale"] = own[f"{ours}.weight"].numpy()
        arrays[f"Transformer/{theirs}/bias"] = own[f"{ours}.bias"].numpy()
    for index in range(2):
        theirs, ours = f"Transformer/encoderblock_{index}/", f"blocks.{index}."
        for norm, number in (("LayerNorm_0", 1), ("LayerNorm_2", 2)):
            arrays[f"{theirs}{norm}/scale"] = own[f"{ours}norm{number}.weight"].numpy()
            arrays[f"{theirs}{norm}/bias"] = own[f"{ours}norm{number}.bias"].numpy()
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for part, weight, bias in zip(
            ("query", "key", "value"),
            own[f"{ours}attn.qkv.weight"].chunk(3),
            own[f"{ours}attn.qkv.bias"].chunk(3),
            strict=True,
        ):
            arrays[f"{attention}{part}/kernel"] = weight.T.reshape(48, 4, 12).numpy()
            arrays[f"{attention}{part}/bias"] = bias.reshape(4, 12).numpy()
        arrays[f"{attention}out/kernel"] = own[f"{ours}attn.proj.weight"].T.reshape(4, 12, 48).numpy()
        arrays[f"{attention}out/bias"] = own[f"{ours}attn.proj.bias"].numpy()
        for number in (0, 1):
            arrays[f"{theirs}MlpBlock_3/Dense_{number}/kernel"] = own[f"{ours}mlp.fc{number + 1}.weight"].T.numpy()
            arrays[f"{theirs}MlpBlock_3/Dense_{number}/bias"] = own[f"{ours}mlp.fc{number + 1}.bias"].numpy()
    np.savez(tmp_path / "B_16.npz", **arrays)
    check(tmp_path / "B_16.npz", built)
    np.savez(tmp_path / "other.npz", **{"some/kernel": np.zeros((2, 2), np.float32)})
    with pytest.raises(WeightsError, match=r"other\.npz is a JAX checkpoint of another architecture"):
        load(spec_of(tmp_path / "other.npz", "vit_tiny_patch16_224"))


@pytest.mark.parametrize("model", ["densenet121", "mobilenetv3_small_050", "convnext_atto"])
def test_the_classification_layer_is_left_out_whatever_timm_calls_it(model: str, tmp_path: Path) -> None:
    whole = cast("Weights", timm.create_model(model, num_classes=3).state_dict())
    save_file({name: value.contiguous() for name, value in whole.items()}, tmp_path / "model.safetensors")
    spec = replace(spec_of(tmp_path / "model.safetensors", model), options={"model": model})
    found = load(spec).network.state_dict()
    assert found.keys() < whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("lfs.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", r"LFS pointer.*git lfs pull"),
        ("page.pt", b"\n<!DOCTYPE html><html>Quota exceeded</html>", "a web page saved in its place"),
        ("empty.pt", b"", "it is empty"),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + b"0" * 100, "an HDF5 file"),
        ("model.tar.gz", b"\x1f\x8b" + b"0" * 100, "archive; unpack it"),
        ("model.safetensors.index.json", b'{"weight_map": {}}', "the index of a model in several parts"),
    ],
)
def test_a_file_of_another_kind_is_named_for_what_it_is(
    name: str, content: bytes, meaning: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=meaning) as raised:
        read(tmp_path / name)
    assert "truncated" not in str(raised.value)


def test_folders_and_archives_of_other_things_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(WeightsError, match=r"folder\.pt is a folder"):
        read(tmp_path / "folder.pt")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", "x")
    with pytest.raises(WeightsError, match=r"photos\.zip is a zip archive of photo\.jpg, not a checkpoint"):
        read(tmp_path / "photos.zip")
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match=r"whole\.pt is refused: it is a pickle that asks for timm\."):
        read(tmp_path / "whole.pt")


def test_a_torchscript_archive_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "linear.pt")
    with pytest.raises(WeightsError, match=r"linear\.pt .a TorchScript archive. do not fit 'tiny' .missing cls_token"):
        load(spec_of(tmp_path / "linear.pt", "vit_tiny_patch16_224"))
