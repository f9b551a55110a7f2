"""What a checkpoint that stands in no catalog is taken for, in words. Needs no torch."""

from __future__ import annotations

from pvrbench.encoders.spec import EncoderSpec


def preprocessing_of(spec: EncoderSpec) -> str:
    """How an encoder prepares images, and which tensors it takes where its file holds several sets."""
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    whole = f"{spec.interpolation} to {spec.image_size} x {spec.image_size} px, mean {mean}, std {std}"
    key = spec.options.get("key")
    return f"{whole}; of its tensors those under {key!r}" if key else whole


def is_uri(spec: EncoderSpec) -> bool:
    """Whether an encoder is a checkpoint that is named by its URI."""
    return spec.entry_point.endswith("timm_backbone:load") and ":" in spec.name
