"""References to encoders that stand in no catalog, as specs; torch is imported only when one is resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from pvrbench.common.reference import resolve
from pvrbench.encoders.spec import EncoderSpec

_FAMILIES = "pvrbench.encoders.families"

SCHEMES: Mapping[str, str] = {
    "timm": "timm:vit_small_patch16_224.dino",
    "hf": "hf:owner/repo",
    "file": "file:/path/model.safetensors?model=vit_tiny_patch16_224",
    "torchvision": "torchvision:resnet18",
    "pretrained": "pretrained:/path/folder",
}
"""What a reference may start with instead of a module, each with an example."""


def spec_for(reference: str, image_px: int | None = None) -> EncoderSpec:
    """The spec of a checkpoint URI or of a `module:attribute` reference.

    An encoder of one's own is loaded once and asked for the shapes of its features.

    Args:
        reference: URI or `module:attribute`.
        image_px: side in pixels of the pictures that the encoder will be given, where that is known.

    Raises:
        ValueError: the reference names nothing, or the encoder fails or does not return features.
    """
    # By name, since the modules behind it import torch and catalogs must stay light.
    scheme = reference.partition(":")[0]
    if scheme in SCHEMES:
        place = "pretrained" if scheme == "pretrained" else "checkpoint_uri"
        describe_uri = cast("Callable[[str], EncoderSpec]", resolve(f"{_FAMILIES}.{place}:describe"))
        return describe_uri(reference)
    spec = EncoderSpec(
        name=reference,
        entry_point="pvrbench.encoders.families.custom:load",
        objective="your own",
        image_size=0,
        licence="yours",
        pretraining_data="unknown",
        options={"reference": reference},
    )
    describe = cast("Callable[[EncoderSpec, int | None], EncoderSpec]", resolve(f"{_FAMILIES}.custom:describe"))
    return describe(spec, image_px)
