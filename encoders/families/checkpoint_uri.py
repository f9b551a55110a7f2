"""Checkpoints named by a URI instead of a catalog row; timm builds the network and knows its preprocessing.

    timm:vit_small_patch14_dinov2.lvd142m?img_size=224     weights that timm hosts
    hf:owner/repo                                          a hub repository in timm's layout; @commit pins it
    file:/path/model.safetensors?model=vit_tiny_patch16_224
    torchvision:resnet50                                   torchvision's ResNets, which have timm's layout

What follows `?`, joined by `&`, are arguments of `timm.create_model`, and

    mean=0.485,0.456,0.406   or imagenet, clip, half; std= likewise; norm= sets both by name
    interpolation=bicubic    or bilinear
    crop=0.875               share of the resized frame that `preprocessing=official` keeps
    key=teacher              which copy of the network, where a file holds several
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor

from pvrbench.encoders.families.timm_backbone import build
from pvrbench.encoders.families.uri_settings import check_arguments, config_beside, images_given
from pvrbench.encoders.preprocessing import DEFAULT_CROP_FRACTION
from pvrbench.encoders.reference import SCHEMES
from pvrbench.encoders.spec import EncoderSpec, FeatureField, OfficialResize, WeightsSource
from pvrbench.encoders.weights.caches import hub_files, in_hub_cache
from pvrbench.encoders.weights.download import hub_file
from pvrbench.encoders.weights.loading import tensor_set
from pvrbench.encoders.weights.location import WeightsError, file_of

Option = str | int | float | bool


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """What a URI says.

    Attributes:
        model: timm's name of the architecture, with or without a tag.
        config: timm's pretrained config: input size, interpolation, mean, std, crop, licence.
        weights: where the weights are.
        options: arguments of the architecture.
        said: what of the config is known of these weights, rather than usual for the architecture.
    """

    model: str
    config: Mapping[str, Any]
    weights: WeightsSource
    options: Mapping[str, Option]
    said: frozenset[str] = frozenset({"mean", "std", "interpolation", "crop_pct"})


def describe(uri: str) -> EncoderSpec:
    """The spec of a checkpoint URI; the shapes of its features are found on a network without memory.

    Raises:
        ValueError: the URI names no checkpoint, file or architecture, or does not say what must be known; the text
            says what to write.
        WeightsError: the config of a hub repository cannot be had, or a file does not hold the network.
    """
    scheme, _, rest = uri.partition(":")
    place, _, query = rest.partition("?")
    options = _options(uri, query)
    if not place:
        raise ValueError(f"{uri!r} names nothing. Write for instance {SCHEMES[scheme]}.")
    images = images_given(uri, options)
    read = {"timm": _timm, "hf": _hub, "file": _file, "torchvision": _torchvision}[scheme]
    found = read(uri, place, options)
    found = replace(found, config={**found.config, **images}, said=found.said.union(images))
    _check_said(uri, found)
    return _spec(uri, found)


def _options(uri: str, query: str) -> dict[str, Option]:
    options: dict[str, Option] = {}
    for part in filter(None, query.split("&")):
        name, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} in {uri!r} is no setting. Write ?name=value&name=value.")
        if name in options:
            raise ValueError(f"{uri!r} gives {name} twice. Give it once.")
        options[name] = _value(text)
    return options


def _value(text: str) -> Option:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if text.isdigit():
        return int(text)
    return float(text) if re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", text) else text


def _check_said(uri: str, found: _Checkpoint) -> None:
    """Refuses to guess the normalisation where the weights of one architecture were trained with several."""
    missing = {"mean", "std"} - found.said
    if not missing:
        return
    tags = timm.list_pretrained(f"{found.model.partition('.')[0]}.*")
    configs: list[Any] = [timm.get_pretrained_cfg(name) for name in tags]
    used = {(tuple(config.mean), tuple(config.std)): name for config, name in zip(configs, tags, strict=True)}
    if len(used) > 1:
        known = "; ".join(f"{name}: mean {_numbers(mean)}, std {_numbers(std)}" for (mean, std), name in used.items())
        raise ValueError(
            f"{uri!r} does not say how its images were normalised, and weights of this architecture differ in it "
            f"({known}). Add &mean=...&std=... (numbers, or imagenet, clip, half), or name one of them as model=."
        )


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def _timm(uri: str, place: str, options: dict[str, Option]) -> _Checkpoint:
    config = _config_of(uri, place)
    name = f"{place.partition('.')[0]}.{config['tag']}"
    hub_id = str(config.get("hf_hub_id") or "")
    # Most lie in the repository of their name; some in another, some on an ordinary server.
    if hub_id == hub_files(f"timm:{name}")[0]:
        source = WeightsSource(uri=f"timm:{name}")
    elif hub_id:
        file = config.get("hf_hub_filename") or "model.safetensors"
        source = WeightsSource(uri=f"hf:{hub_id}/{file}", mirrors=(f"hf:{hub_id}/pytorch_model.bin",))
    elif config.get("url"):
        source = WeightsSource(uri=str(config["url"]))
    else:
        raise ValueError(f"timm has the architecture of {uri!r} but no weights for it. {_tags(place)}")
    return _Checkpoint(place, config, source, options)


def _hub(uri: str, place: str, options: dict[str, Option]) -> _Checkpoint:
    repo, _, revision = place.partition("@")
    if repo.count("/") != 1:
        raise ValueError(f"{uri!r} is no hub repository. Write {SCHEMES['hf']}.")
    source = WeightsSource(uri=f"hf:{repo}/config.json", revision=revision or None)
    try:
        path = in_hub_cache(source) or hub_file(repo, "config.json", source.revision)
        # The weights are then taken from the same commit, whatever is published meanwhile.
        source = replace(source, revision=path.parent.name)
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The config of {repo} is neither in the hub's cache nor to be had: {error}. On a machine with network run "
            f"`hf download {repo}`, and copy its folder of the hub's cache."
        ) from error
    if "architecture" not in config:
        raise ValueError(
            f"{repo} is not a repository that timm can hold: its config.json names no architecture. If timm has the "
            f"architecture, write {SCHEMES['file']} with the downloaded file; else write an encoder of your own."
        )
    weights = WeightsSource(
        uri=f"hf:{repo}/model.safetensors", revision=source.revision, mirrors=(f"hf:{repo}/pytorch_model.bin",)
    )
    arguments = {**config.get("model_args", {}), **options}
    model, said = str(config["architecture"]), cast("dict[str, Any]", config.get("pretrained_cfg", config))
    return _Checkpoint(model, {**_config_of(uri, model), **said}, weights, arguments, said=frozenset(said))


def _file(uri: str, place: str, options: dict[str, Option]) -> _Checkpoint:
    path = Path(place).expanduser().absolute()
    if path.is_dir():
        raise ValueError(f"{path}, which {uri!r} names, is a folder. Name the file in it, as {SCHEMES['file']}.")
    if not path.is_file():
        raise ValueError(f"There is no file {path}, which {uri!r} names.")
    if "model" not in options:
        raise ValueError(f"{uri!r} does not say which architecture the file is for. Write {SCHEMES['file']}.")
    model = str(options.pop("model"))
    usual, beside = _config_of(uri, model), config_beside(path)
    known = {*usual} if "." in model else {*beside}
    source = WeightsSource(uri=f"file:{path}")
    return _Checkpoint(model, {**usual, **beside}, source, options, said=frozenset(known))


def _torchvision(uri: str, place: str, options: dict[str, Option]) -> _Checkpoint:
    from torchvision.models import (
        get_model_weights,  # pyright: ignore[reportUnknownVariableType] - partly typed
        list_models,
    )

    name, _, tag = place.partition(".")
    known = [model for model in list_models() if model.startswith(("resnet", "wide_resnet", "resnext"))]
    if name not in known or not timm.is_model(name):
        raise ValueError(
            f"{uri!r} is not among torchvision's ResNets: {', '.join(known)}. Write an encoder of your own."
        )
    offered = get_model_weights(name)
    if tag and tag not in offered.__members__:
        raise ValueError(f"torchvision has no weights {tag!r} for {name}; it has {', '.join(offered.__members__)}.")
    weights: Any = offered[tag or "DEFAULT"]
    shown = weights.transforms()
    config = {
        "input_size": (3, *shown.crop_size * 2),
        "interpolation": shown.interpolation.value,
        "mean": shown.mean,
        "std": shown.std,
        "crop_pct": shown.crop_size[0] / shown.resize_size[0],
    }
    return _Checkpoint(name, config, WeightsSource(uri=weights.url), options)


def _config_of(uri: str, model: str) -> Mapping[str, Any]:
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "timm.list_models() shows all."
        raise ValueError(f"timm has no architecture {architecture!r}, which {uri!r} names. {hint}")
    try:
        config: Any = timm.get_pretrained_cfg(model, allow_unregistered=False)
    except RuntimeError as error:
        raise ValueError(f"timm has no weights {tag!r} for {architecture!r}. {_tags(model)}") from error
    return cast("Mapping[str, Any]", config.to_dict())


def _tags(model: str) -> str:
    found = timm.list_models(f"{model.partition('.')[0]}.*", pretrained=True)
    return (
        f"It has {', '.join(found[:4])}." if found else "Write file:<path>?model=<architecture> with weights of yours."
    )


def _spec(uri: str, found: _Checkpoint) -> EncoderSpec:
    config = found.config
    side = int(found.options.get("img_size", config.get("input_size", (3, 224, 224))[-1]))
    options: dict[str, Option] = {"model": found.model.partition(".")[0], **found.options}
    if side != config.get("input_size", (3, 224, 224))[-1]:
        options["img_size"] = side
    spec = EncoderSpec(
        name=uri,
        entry_point="pvrbench.encoders.families.timm_backbone:load",
        objective="a checkpoint named by its URI",
        image_size=side,
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        mean=_colours(config, "mean"),
        std=_colours(config, "std"),
        crop_fraction=float(config.get("crop_pct") or DEFAULT_CROP_FRACTION),
        official=OfficialResize(squash=config.get("crop_mode") == "squash"),
        weights=found.weights,
        licence=str(config.get("license") or "see its source"),
        pretraining_data="see its source",
        paper=str(config.get("paper_name") or ""),
        options=options,
    )
    return _with_key(_with_shapes(spec))


def _with_key(spec: EncoderSpec) -> EncoderSpec:
    """The spec with the key of the copy that will be taken, where a file of this machine holds several."""
    if spec.weights is None or file_of(spec.weights) is None:
        return spec
    with torch.device("meta"):
        expected = build(spec).state_dict()
    found = tensor_set(spec, expected)
    return replace(spec, options={**spec.options, "key": found.key}) if found.others else spec


def _colours(config: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    red, green, blue = config.get(name, (0.5, 0.5, 0.5))
    return float(red), float(green), float(blue)


def _with_shapes(spec: EncoderSpec) -> EncoderSpec:
    try:
        with torch.device("meta"):
            check_arguments(spec)
            model: Any = build(spec).eval()
            output: Tensor = model.forward_features(torch.zeros(1, 3, spec.image_size, spec.image_size))
    except (TypeError, ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"timm cannot build {spec.name!r} ({str(error).splitlines()[0]}). What follows `?` must be arguments of "
            f"timm.create_model for {spec.options['model']!r}."
        ) from error
    outputs: tuple[FeatureField, ...] = ("grid",)
    if output.ndim == 4:
        is_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        width, grid_side = output.shape[-1 if is_last else 1], output.shape[2]
    else:
        num_prefix = int(getattr(model, "num_prefix_tokens", 0))
        width, grid_side = output.shape[2], round((output.shape[1] - num_prefix) ** 0.5)
        if grid_side**2 + num_prefix != output.shape[1]:
            raise ValueError(
                f"{spec.name!r} gives {output.shape[1]} tokens, which are no square grid; write an encoder."
            )
        if num_prefix:
            outputs = ("class_token", "grid")
        elif getattr(model, "attn_pool", None) is not None:
            outputs = ("grid", "pooled")
    return replace(
        spec,
        outputs=outputs,
        feature_dim=width,
        grid_side=grid_side,
        num_params=sum(parameter.numel() for parameter in model.parameters()),
        default_readout="class_token" if "class_token" in outputs else "mean",
    )
