"""What an encoder's output depends on, as one digest."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from pvrbench.encoders.spec import EncoderSpec


def digest_of(spec: EncoderSpec, network: nn.Module) -> str:
    """SHA-256 over preprocessing, options and every parameter and buffer of a network."""
    parts: tuple[object, ...] = (
        spec.image_size,
        spec.interpolation,
        spec.mean,
        spec.std,
        sorted(spec.options.items()),
    )
    if spec.options.get("preprocessing") == "official":
        parts += (spec.crop_fraction, spec.official)
    content = hashlib.sha256(repr(parts).encode())
    for name, value in sorted(network.state_dict().items()):
        content.update(name.encode())
        content.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


# What a row says for people, and what is known of the network by its weights.
_DESCRIPTIVE = frozenset(
    {"name", "entry_point", "objective", "modality", "outputs", "feature_dim", "grid_side", "num_params", "weights"}
    | {
        "default_readout",
        "only_readouts",
        "licence",
        "non_commercial",
        "pretraining_data",
        "pretraining_tasks",
        "num_prefix_tokens",
        "parts",
        "paper",
    }
)


def preprocessing_digest(spec: EncoderSpec) -> str:
    """SHA-256 over what a row says of preprocessing, and its options."""
    kept = {name: getattr(spec, name) for name in spec.__dataclass_fields__ if name not in _DESCRIPTIVE}
    kept["options"] = sorted(spec.options.items())
    if spec.options.get("preprocessing") != "official":
        # The whole frame is shown, whatever the crop of the authors.
        del kept["crop_fraction"]
    return hashlib.sha256(repr(sorted(kept.items())).encode()).hexdigest()
