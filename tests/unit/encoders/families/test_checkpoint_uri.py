"""Checkpoints named by a URI: described without loading, loaded with timm's preprocessing, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.provenance import provenance
from pvrbench.benchmark.plan import make_plan
from pvrbench.encoders.families.timm_backbone import load
from pvrbench.encoders.reference import spec_for
from pvrbench.encoders.weights.loading import WeightsError, locate


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    # The hub's package reads its variables when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def save(path: Path, model: str, **arguments: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    weights = cast("dict[str, Tensor]", timm.create_model(model, **arguments).state_dict())
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return weights


@pytest.mark.parametrize(
    ("uri", "outputs", "feature_dim", "grid_side", "image_size", "source"),
    [
        ("timm:vit_small_patch16_224.dino", ("class_token", "grid"), 384, 14, 224, "timm:vit_small_patch16_224.dino"),
        (
            "timm:vit_small_patch14_dinov2.lvd142m?img_size=224",
            ("class_token", "grid"),
            384,
            16,
            224,
            "timm:vit_small_patch14_dinov2.lvd142m",
        ),
        ("timm:resnet18", ("grid",), 512, 7, 224, "timm:resnet18.a1_in1k"),
        ("timm:vit_base_patch16_siglip_224.webli", ("grid", "pooled"), 768, 14, 224, ""),
        ("timm:swin_tiny_patch4_window7_224", ("grid",), 768, 7, 224, ""),
        ("torchvision:resnet18", ("grid",), 512, 7, 224, "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ],
)
def test_shapes_are_known_without_weights(
    uri: str, outputs: tuple[str, ...], feature_dim: int, grid_side: int, image_size: int, source: str
) -> None:
    spec = spec_for(uri)
    assert spec.name == uri
    assert (spec.outputs, spec.feature_dim, spec.grid_side, spec.image_size) == (
        outputs,
        feature_dim,
        grid_side,
        image_size,
    )
    assert spec.weights is not None
    assert not source or spec.weights.uri == source


def test_a_local_file_is_loaded_with_the_preprocessing_of_its_architecture(offline: Path) -> None:
    file = offline / "mine.safetensors"
    weights = save(file, "vit_tiny_patch16_224")
    uri = f"file:{file}?model=vit_tiny_patch16_224"
    # As typed: Hydra's grammar has no bare `?model=`.
    config = compose_config([f"encoders=[pixels_7,{uri},timm:resnet18]", "readouts=[class_token,mean]"])
    assert config.encoders == ("pixels_7", uri, "timm:resnet18")
    job = next(job for job in make_plan(config).jobs if job.encoder.name == uri)
    assert job.encoder.mean == (0.5, 0.5, 0.5)
    assert {cell.readout for cell in job.cells} == {"class_token", "mean"}
    encoder = load(job.encoder)
    assert torch.equal(encoder.network.state_dict()["cls_token"], weights["cls_token"])
    features = encoder.encode(torch.zeros(2, 20, 30, 3, dtype=torch.uint8))
    assert features.class_token is not None
    assert features.class_token.shape == (2, 192)
    recorded = provenance("cpu", "", compose_config([]).engine, encoder.spec, {}).encoder
    assert recorded["weights"] == "file:mine.safetensors"
    weights["cls_token"] += 1
    save_file(weights, file)
    assert load(job.encoder).digest != encoder.digest


def test_a_hub_repository_in_timms_layout_is_read_from_the_cache(offline: Path) -> None:
    snapshot = offline / "hub" / "models--someone--net" / "snapshots" / ("c" * 40)
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("c" * 40)
    save(snapshot / "model.safetensors", "vit_tiny_patch16_224", img_size=64, num_classes=3)
    config: dict[str, Any] = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "model_args": {"img_size": 64},
        "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "license": "mit"},
    }
    (snapshot / "config.json").write_text(json.dumps(config))
    spec = spec_for("hf:someone/net")
    assert (spec.image_size, spec.grid_side, spec.mean, spec.licence) == (64, 4, (0.1, 0.2, 0.3), "mit")
    assert locate(spec) == snapshot / "model.safetensors"
    load(spec)
    # Another commit is published meanwhile: its weights do not go with this config.
    newer = snapshot.with_name("d" * 40)
    save(newer / "model.safetensors", "vit_tiny_patch16_224", img_size=64, num_classes=3)
    (snapshot.parents[1] / "refs" / "main").write_text("d" * 40)
    assert locate(spec) == snapshot / "model.safetensors"
    (snapshot.parents[1] / "refs" / "main").write_text("c" * 40)
    (snapshot / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"someone/net is not a repository that timm can hold.*file:/path/model"):
        spec_for("hf:someone/net")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("timm:vit_smal_patch16_224", "Did you mean 'vit_small_patch16_224'"),
        (
            "timm:vit_tiny_patch16_224.foo",
            r"no weights 'foo' for 'vit_tiny_patch16_224'. It has vit_tiny_patch16_224\.",
        ),
        ("timm:vit_tiny_patch16_224?foo=1", r"timm cannot build .*unexpected keyword argument 'foo'.*create_model"),
        ("timm:vit_tiny_patch16_224?foo", r"'foo' in .* is no setting. Write \?name=value"),
        ("timm:", "names nothing. Write for instance timm:vit_small_patch16_224.dino"),
        ("file:/absent.pt?model=resnet18", r"There is no file /absent\.pt"),
        (f"file:{__file__}", r"does not say which architecture .*Write file:/path/model.safetensors\?model="),
        ("hf:net", "is no hub repository. Write hf:owner/repo"),
        ("torchvision:vit_b_16", "is not among torchvision's ResNets: resnet101"),
        ("torchvision:resnet18.V9", "has no weights 'V9' for resnet18; it has IMAGENET1K_V1"),
    ],
)
def test_a_uri_that_names_nothing_is_refused_with_the_remedy(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_for(uri)


def test_what_is_not_here_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match=r"config of someone/net is neither.*HF_HUB_OFFLINE is set.*hf download"):
        spec_for("hf:someone/net")
    assert main(["check-encoder", "timm:resnet18.tv_in1k"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pvrbench weights fetch timm:resnet18.tv_in1k" in error
    assert "timm_resnet18.tv_in1k.safetensors" in error


def test_weights_of_another_architecture_are_refused(offline: Path) -> None:
    save(offline / "mine.safetensors", "deit_tiny_patch16_224")
    with pytest.raises(WeightsError, match=r"do not fit .*belongs to deit_tiny16"):
        load(spec_for(f"file:{offline / 'mine.safetensors'}?model=resnet18"))


def test_how_images_are_normalised_is_not_guessed_where_weights_of_an_architecture_differ(offline: Path) -> None:
    file = offline / "mine.safetensors"
    save(file, "vit_base_patch16_224", img_size=32, depth=1)
    uri = f"file:{file}?model=vit_base_patch16_224&img_size=32&depth=1"
    with pytest.raises(ValueError, match=r"does not say how.*differ in it (?=.*0\.485,0\.456).*mean 0\.5,0\.5"):
        spec_for(uri)
    assert spec_for(uri.replace("224&", "224.mae&")).mean == (0.485, 0.456, 0.406)
    assert spec_for(f"{uri}&norm=imagenet").std == (0.229, 0.224, 0.225)
    given = spec_for(f"{uri}&mean=0.5&std=0.25,0.25,0.2&interpolation=bilinear&crop=0.9")
    assert (given.mean, given.std, given.interpolation) == ((0.5,) * 3, (0.25, 0.25, 0.2), "bilinear")
    assert given.crop_fraction == 0.9
    assert load(given).digest != load(spec_for(f"{uri}&mean=0.5&std=0.5")).digest
    (offline / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}')
    assert (spec_for(uri).mean, spec_for(uri).std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_what_is_taken_is_said_by_the_plan_and_the_check(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = save(offline / "net.safetensors", "vit_tiny_patch16_224", img_size=32, depth=1)
    torch.save({"model": weights, "model_ema": weights}, offline / "two.pt")
    uri = f"file:{offline / 'two.pt'}?model=vit_tiny_patch16_224&img_size=32&depth=1"
    spec = spec_for(uri)
    assert spec.options["key"] == "model"
    assert spec_for(f"{uri}&key=model_ema").options["key"] == "model_ema"
    plan = make_plan(compose_config([f"encoders=[{uri}]"]))
    assert any(
        "mean 0.5, 0.5, 0.5, std 0.5, 0.5, 0.5; of its tensors those under 'model'" in note for note in plan.notes
    )
    assert main(["check-encoder", uri]) == 0
    assert "images: bicubic to 32 x 32 px, mean 0.5, 0.5, 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed=1", r"seed= draws an untrained network; the rows random_"),
        ("pretrained=true", "pretrained= is what the URI says itself"),
        ("preprocessing=official", "is a setting of the run"),
        ("global_pol=avg", "unexpected keyword argument 'global_pol'; did you mean 'global_pool'"),
        ("meen=0.5", "unexpected keyword argument 'meen'; did you mean 'mean'"),
        ("mean=255", r"mean=255 in .* is not one or three numbers for pixels in \[0, 1\]"),
        ("mean=0.5,0.5", "is not one or three numbers"),
        ("std=0", "is not one or three numbers"),
        ("norm=imagnet", "is not among imagenet, clip, half"),
        ("crop=1.5", "is no share of the frame"),
        ("interpolation=lanczos", "is neither bicubic nor bilinear"),
        ("img_size=224&img_size=256", "gives img_size twice"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_for(f"timm:vit_tiny_patch16_224.augreg_in21k?{setting}")
