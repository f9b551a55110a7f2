"""From the tensors of an official checkpoint to those of the stock timm network that holds the encoder.

Each function takes what `torch.load(file, weights_only=True)` or a safetensors file gives, strips wrappers, prefixes
and the parts that only training needs, and returns tensors that load strictly. `WeightsSource.converter` names the
function of a row. No value is changed; Theia's query, key and value projections are joined into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from pvrbench.encoders.weights.layouts import VIT, renamed


def r3m(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """R3M: the ResNet; the language model and the reward head are left out.

    Takes the file of the authors (`{"r3m": {"module.convnet...": ...}}`) and the flat one on the Hugging Face hub
    (`{"convnet...": ...}`).

    Source: https://github.com/facebookresearch/r3m, `r3m/__init__.py`.
    """
    return _convnet(_unwrapped(tensors, "r3m"))


def vip(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """VIP: the ResNet with its linear layer to 1024 channels, from `{"vip": {"module.convnet...": ...}}`.

    Source: https://github.com/facebookresearch/vip, `vip/__init__.py`.
    """
    return _convnet(_unwrapped(tensors, "vip"))


def mae(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Masked autoencoders (MAE itself, MVP, VC-1): the encoder of `{"model": ...}`, without decoder and mask token.

    Source: https://github.com/facebookresearch/mae, `models_mae.py`; https://github.com/ir413/mvp,
    `mvp/backbones/vit.py`; https://github.com/facebookresearch/eai-vc, `vc_models/models/vit/vit.py`.
    """
    weights = _unwrapped(tensors, "model")
    return {name: value for name, value in weights.items() if not name.startswith(("decoder", "mask_token", "head"))}


def spa(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """SPA: the image backbone, without the upsampler and the renderer.

    Source: https://github.com/HaoyiZhu/SPA, `spa/models/components/img_backbones/vit.py`.
    """
    backbone = _stripped(_unwrapped(tensors, "state_dict"), "model.img_backbone.")
    training_only = ("decoder", "head", "mask_token", "readout_project", "upsample")
    return {name: value for name, value in backbone.items() if not name.startswith(training_only)}


def theia(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Theia: the DeiT backbone, without the heads that predict its teachers' features.

    Source: https://github.com/bdaiinstitute/theia, `src/theia/models/backbones.py`; the names are those of
    transformers' `ViTModel`.
    """
    return renamed(_stripped(tensors, "backbone.model."), VIT)


def _unwrapped(tensors: Mapping[str, Any], key: str) -> Mapping[str, Tensor]:
    return cast("Mapping[str, Tensor]", tensors.get(key, tensors))


def _stripped(tensors: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _convnet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = {name.removeprefix("module."): value for name, value in tensors.items()}
    return _stripped(bare, "convnet.")
