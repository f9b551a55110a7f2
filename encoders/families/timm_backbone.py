"""Everything that a stock timm architecture holds: published weights, or seeded untrained ones."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pvrbench.encoders.base import Features
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.preprocessing import check_images, preprocess
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.fit import EXTRAS, check_fit
from pvrbench.encoders.weights.loading import WeightsError, locate, tensor_set
from pvrbench.encoders.weights.positions import resampled

# Options that are ours; the others are handed to `timm.create_model`.
_OWN = frozenset(
    {"model", "seed", "preprocessing", "norm_eps", "rope_periods", "key", "final_norm", "resample", "headless", "block"}
)


class TimmEncoder:
    """A frozen timm network with its preprocessing.

    Args:
        spec: the catalog row; `options["model"]` is timm's name of the architecture.
        model: the network, its weights loaded.
    """

    reentrant = True

    def __init__(self, spec: EncoderSpec, model: nn.Module) -> None:
        self.spec = spec
        self._model = model.eval().requires_grad_(requires_grad=False)
        self._num_prefix: int = getattr(model, "num_prefix_tokens", 0)
        self._device = "cpu"
        self.digest = digest_of(spec, self._model)

    @torch.no_grad()
    def encode(self, inputs: UInt8[Tensor, "B H W 3"]) -> Features:
        """Class token and patch grid of raw frames, after the network's final normalisation."""
        check_images(inputs, self.spec.name)
        return self.features(preprocess(inputs.to(self._device), self.spec))

    def features(self, pixels: Float[Tensor, "B 3 S S"]) -> Features:
        """The same of preprocessed pixels, with the gradients that the caller has enabled."""
        if "block" in self.spec.options:
            return self._of_block(pixels, int(self.spec.options["block"]))
        return self.arrange(cast("Any", self._model).forward_features(pixels))

    def arrange(self, output: Float[Tensor, "B ..."]) -> Features:
        """Features from what timm's `forward_features` gives."""
        pooled = cast("Any", self._model).forward_head(output) if "pooled" in self.spec.outputs else None
        if "final_norm" in self.spec.options:
            output = self._model.get_submodule(str(self.spec.options["final_norm"]))(output)
        if output.ndim == 4:
            is_last = getattr(self._model, "output_fmt", "NCHW") == "NHWC"
            return Features(grid=output.permute(0, 3, 1, 2).contiguous() if is_last else output, pooled=pooled)
        patches = output[:, self._num_prefix :]
        side = round(patches.shape[1] ** 0.5)
        grid = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        class_token = output[:, 0] if "class_token" in self.spec.outputs else None
        return Features(class_token=class_token, grid=grid, pooled=pooled)

    def _of_block(self, pixels: Float[Tensor, "B 3 S S"], block: int) -> Features:
        """The patches behind a block, counted from the last, which is -1; without the final normalisation."""
        model = cast("Any", self._model)
        (grid,) = model.forward_intermediates(
            pixels, indices=[len(model.blocks) + block], norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return Features(grid=grid)

    def to(self, device: str) -> TimmEncoder:
        """The encoder with its network on `device`."""
        self._model.to(device)
        self._device = device
        return self

    @property
    def network(self) -> nn.Module:
        """The frozen network."""
        return self._model


def load(spec: EncoderSpec) -> TimmEncoder:
    """The encoder of a row, with its weights or with some drawn from `options["seed"]`.

    Raises:
        WeightsError: the weights cannot be had or do not fit the architecture.
    """
    model = build(spec)
    if "seed" in spec.options:
        _draw(model, int(spec.options["seed"]))
    else:
        spec = _fill(model, spec)
    return TimmEncoder(with_published_crop(spec), model)


def with_published_crop(spec: EncoderSpec) -> EncoderSpec:
    """The row with the crop that timm knows for its weights, if the row names none and `official` is asked for."""
    if spec.options.get("preprocessing") != "official" or spec.crop_fraction is not None or spec.weights is None:
        return spec
    published: Any = timm.get_pretrained_cfg(spec.weights.uri.removeprefix("timm:"), allow_unregistered=True)
    return replace(spec, crop_fraction=published.crop_pct if published else None)


def build(spec: EncoderSpec) -> nn.Module:
    """The network of a row with timm's initial values; under `torch.device("meta")` without any.

    These options adapt a stock network to checkpoints of other code: `norm_eps` is the epsilon of every LayerNorm;
    `rope_periods` is the precision to which the periods of the rotary embedding are rounded, as the published DINOv3
    files hold them (timm computes them anew in float32); `final_norm` names the layer that normalises features, where
    timm applies it in the head alone; `resample` says how the authors bring the table of positions to another grid;
    `headless` removes a head that the authors' files lack and that features do not need.
    """
    options = spec.options
    arguments: dict[str, Any] = {"num_classes": 0}
    arguments |= {name: value for name, value in options.items() if name not in _OWN}
    if "norm_eps" in options:
        arguments["norm_layer"] = partial(nn.LayerNorm, eps=float(options["norm_eps"]))
    model: Any = timm.create_model(str(options["model"]), pretrained=False, **arguments)
    if options.get("headless"):
        model.head = nn.Identity()
    if "rope_periods" in options:
        precision: torch.dtype = getattr(torch, str(options["rope_periods"]))
        model.rope.periods = model.rope.periods.to(precision).float()
    return model


def _fill(model: nn.Module, spec: EncoderSpec) -> EncoderSpec:
    """Loads the weights; the row comes back with the key of those that were taken, where the file holds several."""
    expected = model.state_dict()
    found = tensor_set(spec, expected)
    weights = jax_weights(model, locate(spec)) if is_jax(found.tensors) else _fitting(model, found.tensors, spec)
    # BatchNorm counts training batches for nothing that is run here, and files from before torch 0.4 lack the count.
    counts = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
    dropped = (*EXTRAS, *_classifiers(model))
    used = counts | {name: value for name, value in weights.items() if name in expected or not name.startswith(dropped)}
    check_fit(expected, used, spec)
    model.load_state_dict(used, strict=True)
    return replace(spec, options={**spec.options, "key": found.key}) if found.others else spec


def _classifiers(model: nn.Module) -> tuple[str, ...]:
    """What timm says are the classification layers of an architecture, which files hold and features do not need."""
    named: str | tuple[str, ...] = cast("Any", model).pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))


def is_jax(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as in JAX, as in the files of Google's vision transformers."""
    return any("/" in name for name in tensors)


def jax_weights(model: nn.Module, path: Path) -> Mapping[str, Tensor]:
    """The tensors of a JAX checkpoint (`.npz`) as those of the network, by timm's own reader.

    Raises:
        WeightsError: timm has no reader for this architecture, or the file is of another one.
    """
    if not hasattr(model, "load_pretrained"):
        raise WeightsError(f"{path} has the names of a JAX checkpoint, which timm reads for vision transformers alone.")
    copy: Any = deepcopy(model)
    # What the file does not fill is found again.
    for parameter in copy.parameters():
        parameter.detach().fill_(torch.nan)
    try:
        copy.load_pretrained(str(path))
    except (KeyError, AttributeError, RuntimeError, AssertionError, ValueError) as error:
        raise WeightsError(f"{path} is a JAX checkpoint of another architecture ({error}).") from error
    return {name: value for name, value in copy.state_dict().items() if not value.isnan().any()}


def _fitting(model: nn.Module, weights: Mapping[str, Tensor], spec: EncoderSpec) -> Mapping[str, Tensor]:
    """Weights as timm would load them: its own filter renames tensors and brings the table of positions to the grid.

    Where the authors do the latter in another way, it is done first.
    """
    if (method := spec.options.get("resample")) is not None:
        # Registers have no position; where the class token has none either, timm says so.
        num_prefix = 0 if getattr(model, "no_embed_class", False) else int("class_token" in spec.outputs)
        weights = {
            name: resampled(value, num_prefix, spec.grid_side, str(method)) if name.endswith("pos_embed") else value
            for name, value in weights.items()
        }
    module = __import__(type(model).__module__, fromlist=["checkpoint_filter_fn"])
    filter_function = getattr(module, "checkpoint_filter_fn", None)
    return weights if filter_function is None else filter_function(dict(weights), model)


def _draw(model: nn.Module, seed: int) -> None:
    """Fills an untrained network from one generator, module by module, as its kind is usually initialised.

    timm's own initialisation draws from the global generator; this one is the same on every machine.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            fan_in = parameter[0].numel()
            is_token = name.endswith(("pos_embed", "cls_token", "reg_token"))
            std = 0.02 if is_token else (2.0 if parameter.ndim == 4 else 1.0) ** 0.5 / fan_in**0.5
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        elif name.endswith("bias"):
            # torch draws some of them, those of convolutions, from the global generator.
            parameter.detach().zero_()
