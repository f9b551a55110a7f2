"""References to encoders that stand in no catalog, as specs; torch is imported only when one is resolved."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec

SCHEMES: Mapping[str, str] = {
    "timm": "timm:vit_small_patch16_224.dino",
    "hf": "hf:owner/repo",
    "file": "file:/path/model.safetensors?model=vit_tiny_patch16_224",
    "torchvision": "torchvision:resnet18",
}
"""What a reference may start with instead of a module, each with an example."""


def spec_for(reference: str) -> EncoderSpec:
    """The spec of a checkpoint URI or of a `module:attribute` reference.

    An encoder of one's own is loaded once and asked for the shapes of its features.

    Raises:
        ValueError: nothing can be had under that reference, or what it returns is no features.
    """
    # By name, since the modules behind it import torch and catalogs must stay light.
    if reference.partition(":")[0] in SCHEMES:
        return pkgutil.resolve_name("pvrbench.encoders.families.checkpoint_uri:describe")(reference)
    spec = EncoderSpec(
        name=reference,
        entry_point="pvrbench.encoders.families.custom:load",
        objective="your own",
        image_size=0,
        licence="yours",
        pretraining_data="unknown",
        options={"reference": reference},
    )
    return pkgutil.resolve_name("pvrbench.encoders.families.custom:describe")(spec)
