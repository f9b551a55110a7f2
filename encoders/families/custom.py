"""Encoders of one's own: any callable on uint8 images that returns features, a vector or a grid."""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pvrbench.encoders.base import Features
from pvrbench.encoders.preprocessing import check_images
from pvrbench.encoders.spec import EncoderSpec, FeatureField

PROBE_PX = 64

DEFAULT_READOUTS = (("class_token", "class_token"), ("pooled", "pooled"), ("grid", "mean"))


def describe(spec: EncoderSpec) -> EncoderSpec:
    """Completes the spec of a reference by loading the encoder and asking it for the shapes of its features.

    Raises:
        ValueError: it cannot be imported, or does not return features.
    """
    features = load(spec).probe
    named: tuple[tuple[FeatureField, Tensor | None], ...] = (
        ("class_token", features.class_token),
        ("grid", features.grid),
        ("pooled", features.pooled),
    )
    given = {name: tensor for name, tensor in named if tensor is not None}
    default = next(readout for name, readout in DEFAULT_READOUTS if name in given)
    return replace(
        spec,
        outputs=tuple(given),
        feature_dim=next(iter(given.values())).shape[1],
        grid_side=min(given["grid"].shape[2:]) if "grid" in given else 0,
        default_readout=default,
    )


class CustomEncoder:
    """A callable as an encoder: frozen if it is a module, its result brought into the form of `Features`.

    Args:
        spec: the spec of its reference.
        function: uint8 images `B H W 3` to `Features`, a vector `B D` or a grid `B D h w`.
    """

    def __init__(self, spec: EncoderSpec, function: Callable[[Tensor], object]) -> None:
        self.spec = spec
        self._function = function
        self._device = "cpu"
        if isinstance(function, nn.Module):
            function.eval().requires_grad_(requires_grad=False)
        self.digest = _digest(spec, function)
        self.probe = self.encode(torch.zeros(1, PROBE_PX, PROBE_PX, 3, dtype=torch.uint8))

    def encode(self, inputs: Tensor) -> Features:
        """Features of raw frames."""
        check_images(inputs, self.spec.name)
        with torch.no_grad():
            return _as_features(
                self._function(inputs if self.network is None else inputs.to(self._device)), self.spec.name
            )

    def to(self, device: str) -> CustomEncoder:
        """The encoder with its parameters on `device`, if it is a module."""
        if isinstance(self._function, nn.Module):
            self._function.to(device)
            self._device = device
        return self

    @property
    def network(self) -> nn.Module | None:
        """The frozen network, if the callable is a module."""
        return self._function if isinstance(self._function, nn.Module) else None


def load(spec: EncoderSpec) -> CustomEncoder:
    """Imports the reference and wraps it; a class is made without arguments first.

    Raises:
        ValueError: it cannot be imported or made, or does not return features.
    """
    reference = str(spec.options["reference"])
    # A console script does not look into the folder it is started in, as `python -m` would.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = pkgutil.resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Encoder {reference!r} cannot be imported: {error}. Write it as module:attribute; the module must lie in "
            "this folder or be installed."
        ) from error
    made = found() if isinstance(found, type) else found
    if not callable(made):
        raise ValueError(  # noqa: TRY004 - the user's text is wrong, not a caller's type
            f"Encoder {reference!r} is a {type(made).__name__}; expected a callable on uint8 images B H W 3."
        )
    return CustomEncoder(spec, made)


def _as_features(value: object, name: str) -> Features:
    if isinstance(value, Features):
        return value
    if isinstance(value, torch.Tensor):
        value = value.float()
        if value.ndim == 2:
            return Features(pooled=value)
        if value.ndim == 4:
            return Features(grid=value)
        raise ValueError(
            f"Encoder {name!r} returned shape {tuple(value.shape)}; expected a vector B D or a grid B D h w."
        )
    raise ValueError(f"Encoder {name!r} returned a {type(value).__name__}; expected Features, a vector B D or a grid.")


def _digest(spec: EncoderSpec, function: Callable[[Tensor], object]) -> str:
    """Weights where there are some, and the source of the module, since its code is its preprocessing."""
    content = hashlib.sha256(spec.name.encode())
    module = importlib.util.find_spec(str(spec.options["reference"]).partition(":")[0])
    if module is not None and module.origin is not None:
        content.update(Path(module.origin).read_bytes())
    if isinstance(function, nn.Module):
        for name, value in sorted(function.state_dict().items()):
            content.update(name.encode())
            content.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()
