"""Encoders of one's own: `module:attribute`, any callable on uint8 images that returns features, a vector or a grid."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from encoders.spec import EncoderSpec, FeatureField

if TYPE_CHECKING:
    from torch import Tensor

    from encoders.base import Features

PROBE_PX = 64


def spec_for(reference: str) -> EncoderSpec:
    """The spec of a `module:attribute` reference; the encoder is loaded once and asked for the shapes of its features.

    Raises:
        ValueError: the module or attribute cannot be imported, or what it returns is no features.
    """
    features = load(_bare(reference)).probe
    outputs: list[FeatureField] = []
    grid_side = 0
    if features.class_token is not None:
        outputs.append("class_token")
    if features.grid is not None:
        outputs.append("grid")
        grid_side = min(features.grid.shape[2:])
    if features.pooled is not None:
        outputs.append("pooled")
    first = next(tensor for tensor in (features.class_token, features.grid, features.pooled) if tensor is not None)
    spec = _bare(reference)
    default = "class_token" if "class_token" in outputs else "pooled" if "pooled" in outputs else "mean"
    return EncoderSpec(
        name=spec.name,
        entry_point=spec.entry_point,
        objective="your own",
        outputs=tuple(outputs),
        image_size=0,
        feature_dim=int(first.shape[1]),
        grid_side=int(grid_side),
        default_readout=default,
        licence="yours",
        pretraining_data="unknown",
        options=spec.options,
    )


def _bare(reference: str) -> EncoderSpec:
    return EncoderSpec(
        name=reference, entry_point="encoders.custom:load", objective="your own", options={"reference": reference}
    )


class CustomEncoder:
    """A callable as an encoder: frozen if it is a module, its result brought into the form of `Features`.

    Args:
        spec: the spec of its reference.
        function: uint8 images `B H W 3` to `Features`, a vector `B D` or a grid `B D h w`.
    """

    def __init__(self, spec: EncoderSpec, function: Callable[[Tensor], object]) -> None:
        import torch

        self.spec = spec
        self._function = function
        if isinstance(function, torch.nn.Module):
            function.eval().requires_grad_(requires_grad=False)
        self.digest = _digest(spec, function)
        self.probe = self.encode(torch.zeros(1, PROBE_PX, PROBE_PX, 3, dtype=torch.uint8))

    def encode(self, inputs: Tensor) -> Features:
        """Features of raw frames."""
        import torch

        from encoders.preprocessing import check_images

        check_images(inputs, self.spec.name)
        with torch.no_grad():
            return _as_features(self._function(inputs), self.spec.name)

    def to(self, device: str) -> CustomEncoder:
        """The encoder with its parameters on `device`, if it is a module."""
        import torch

        if isinstance(self._function, torch.nn.Module):
            self._function.to(device)
        return self


def load(spec: EncoderSpec) -> CustomEncoder:
    """Imports the reference and wraps it; a class is made without arguments first.

    Raises:
        ValueError: it cannot be imported or made, or does not return features.
    """
    import os
    import sys

    reference = str(spec.options["reference"])
    # A console script does not look into the folder it is started in, as `python -m` would.
    if os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = pkgutil.resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Encoder {reference!r} cannot be imported: {error}. Write it as module:attribute; the module must lie in "
            "this folder or be installed."
        ) from error
    if isinstance(found, EncoderSpec):
        return cast("CustomEncoder", pkgutil.resolve_name(found.entry_point)(found))
    made = found() if isinstance(found, type) else found
    if not callable(made):
        raise ValueError(  # noqa: TRY004 - the user's text is wrong, not a caller's type
            f"Encoder {reference!r} is a {type(made).__name__}; expected a callable on uint8 images B H W 3."
        )
    return CustomEncoder(spec, made)


def _as_features(value: object, name: str) -> Features:
    import torch

    from encoders.base import Features

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
    import torch

    content = hashlib.sha256(spec.name.encode())
    module = importlib.util.find_spec(str(spec.options["reference"]).partition(":")[0])
    if module is not None and module.origin is not None:
        with open(module.origin, "rb") as file:  # noqa: PTH123
            content.update(file.read())
    if isinstance(function, torch.nn.Module):
        for name, value in sorted(function.state_dict().items()):
            content.update(name.encode())
            content.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()
