"""Encoders of one's own: any callable on uint8 images that returns features, a vector, a grid or tokens."""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.common.code import code_digest, describe_error, is_local
from pvrbench.common.output import printing_to_stderr
from pvrbench.common.reference import EntryPointError, resolve
from pvrbench.encoders.base import EncoderFaultError, Features
from pvrbench.encoders.contents import contents_of
from pvrbench.encoders.input_probe import PROBE_SIZES
from pvrbench.encoders.preprocessing import check_images
from pvrbench.encoders.spec import EncoderSpec, FeatureField

DEFAULT_READOUTS = (("class_token", "class_token"), ("pooled", "pooled"), ("grid", "mean"))
_FIELDS: tuple[FeatureField, ...] = ("class_token", "grid", "pooled")
_EXPECTED = "a tensor or numpy array: a vector B D, a grid B D h w, tokens B N D, or Features"


def describe(spec: EncoderSpec, image_px: int | None = None) -> EncoderSpec:
    """Completes the spec of a reference by loading the encoder and asking it for the shapes of its features.

    Args:
        spec: the spec of its reference.
        image_px: side in pixels of the pictures that it will be given. Without it the first of `PROBE_SIZES` that the
            encoder takes is used; the grid may then be of another side than in a run.

    Raises:
        EncoderFaultError: it cannot be imported, fails on such pictures, or does not return features.
    """
    # What foreign code prints must not get into output that a program reads.
    with printing_to_stderr():
        found = _probed(load(spec), PROBE_SIZES if image_px is None else (image_px,))
    given = {name: tensor for name in _FIELDS if (tensor := cast("Tensor | None", getattr(found, name))) is not None}
    return replace(
        spec,
        outputs=tuple(given),
        feature_dim=next(iter(given.values())).shape[1],
        grid_side=min(given["grid"].shape[2:]) if "grid" in given else 0,
        default_readout=next(readout for name, readout in DEFAULT_READOUTS if name in given),
    )


class CustomEncoder:
    """A callable as an encoder: frozen if it is a module, its result brought into the form of `Features`.

    Args:
        spec: the spec of its reference.
        function: uint8 images `B H W 3` to `Features`, a vector `B D`, a grid `B D h w` or tokens `B N D`.

    Attributes:
        spec: the spec.
        function: the callable.
        digest: hash of what the callable holds after loading and of its code; `pvrbench.encoders.identity.identify`
            adds what it gives for fixed pictures.
    """

    def __init__(self, spec: EncoderSpec, function: Callable[[Tensor], object]) -> None:
        self.spec = spec
        self.function = function
        self._device = "cpu"
        if isinstance(function, nn.Module):
            function.eval().requires_grad_(requires_grad=False)
        parts = (spec.name, contents_of(function).digest(), code_digest(self.module_names))
        self.digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def encode(self, inputs: Tensor) -> Features:
        """Features of raw frames."""
        check_images(inputs, self.spec.name)
        with torch.no_grad():
            found = self.function(inputs if self.network is None else inputs.to(self._device))
        return as_features(found, self.spec.name)

    def to(self, device: str) -> CustomEncoder:
        """The encoder with its parameters on `device`, if it is a module."""
        if isinstance(self.function, nn.Module):
            self.function.to(device)
            self._device = device
        return self

    @property
    def network(self) -> nn.Module | None:
        """The frozen network, if the callable is a module."""
        return self.function if isinstance(self.function, nn.Module) else None

    @property
    def module_names(self) -> list[str]:
        """The modules that its code is from; those of installed libraries, as of `nn.Sequential`, do not count."""
        named = str(self.spec.options.get("reference", "")).partition(":")[0]
        own: str = getattr(self.function, "__module__", None) or type(self.function).__module__
        file = getattr(sys.modules.get(own), "__file__", None)
        return sorted({named, own if file and is_local(Path(file)) else ""} - {""})


def load(spec: EncoderSpec) -> CustomEncoder:
    """Imports the reference and wraps it; a class is made without arguments first.

    Raises:
        EncoderFaultError: it cannot be imported or made, or is no callable on images.
    """
    reference = str(spec.options["reference"])
    with printing_to_stderr():
        found = _imported(reference)
        made = _made(found, reference) if isinstance(found, type) else found
    _check_callable(made, reference)
    return CustomEncoder(spec, cast("Callable[[Tensor], object]", made))


def as_features(value: object, name: str) -> Features:
    """What an encoder returned, in the form of `Features`.

    A tensor or numpy array `B D` is a pooled vector, `B D h w` a grid. Of tokens `B N D`, N a square is a grid, row by
    row; one token more than a square is a class token followed by a grid. A dictionary with the names of the fields,
    or with a single entry, is taken likewise.

    Raises:
        EncoderFaultError: it has no meaning, or more than one; the text says how to convert it.
    """
    if isinstance(value, Features):
        return value
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        if entries and {*entries} <= {*_FIELDS}:
            return Features(**{str(field): _tensor(entry, name) for field, entry in entries.items()})
        if len(entries) == 1:
            return as_features(next(iter(entries.values())), name)
        keys = ", ".join(map(str, list(entries)[:6])) or "no entries"
        raise EncoderFaultError(
            f"Encoder {name!r} returned a dictionary with {keys}. Return one of them, or "
            "Features(class_token=..., grid=..., pooled=...)."
        )
    tensor = _tensor(value, name)
    match tensor.ndim:
        case 2:
            return Features(pooled=tensor)
        case 3:
            return _from_tokens(tensor, name)
        case 4:
            return Features(grid=tensor)
        case _:
            raise EncoderFaultError(
                f"Encoder {name!r} returned shape {tuple(tensor.shape)}; expected {_EXPECTED}. "
                "Flatten a vector with flatten(1)."
            )


def _tensor(value: object, name: str) -> Tensor:
    if isinstance(value, Tensor) and not value.is_complex():
        return value.float()
    # numpy's arrays are only partly typed.
    given: Any = value
    if isinstance(value, np.ndarray) and given.dtype.kind in "fiub":
        # A copy: the array may be read-only or used again.
        return torch.from_numpy(np.array(given)).float()
    kind = type(given).__name__
    if isinstance(value, tuple | list):
        raise EncoderFaultError(
            f"Encoder {name!r} returned a {kind}; expected {_EXPECTED}. Return the entry that holds the features."
        )
    dtype = f" of {given.dtype}" if hasattr(given, "dtype") else ""
    told = "nothing (None)" if value is None else f"an object of type {kind}{dtype}"
    raise EncoderFaultError(f"Encoder {name!r} returned {told}; expected {_EXPECTED}.")


def _from_tokens(tokens: Float[Tensor, "B N D"], name: str) -> Features:
    count = tokens.shape[1]
    side = math.isqrt(count)
    num_prefix = count - side**2
    if count == 0 or num_prefix > 1:
        raise EncoderFaultError(
            f"Encoder {name!r} returned {count} tokens, which are neither a square grid nor a class token "
            "and one. Return Features(class_token=tokens[:, 0], grid=tokens[:, num_prefix:].transpose(1, 2)"
            ".unflatten(2, (h, w)))."
        )
    grid = tokens[:, num_prefix:].transpose(1, 2).reshape(len(tokens), -1, side, side)
    return Features(class_token=tokens[:, 0] if num_prefix else None, grid=grid)


def _probed(encoder: CustomEncoder, sizes: tuple[int, ...]) -> Features:
    """Features of a picture of the first size that the encoder takes."""
    first: BaseException | None = None
    for side in sizes:
        try:
            return encoder.encode(torch.zeros(1, side, side, 3, dtype=torch.uint8))
        except EncoderFaultError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything; another size may do
            first = error if first is None else first
    tried = f"{sizes[0]} x {sizes[0]}" if len(sizes) == 1 else f"{', '.join(map(str, sizes))}"
    raise EncoderFaultError(
        f"Encoder {encoder.spec.name!r} fails on pictures of {tried} pixels: "
        f"{describe_error(first) if first else ''}. It is given uint8 images B H W 3; choose an image_px that it "
        "takes, or resize the pictures in its code."
    ) from first


def _imported(reference: str) -> object:
    # A console script does not look into the folder that it is started in, as `python -m` would. It stands last, so
    # that a random.py there does not replace the standard library's.
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    module_name = reference.partition(":")[0]
    try:
        found = resolve(reference)
    except EntryPointError as error:
        if error.__cause__ is None and not _shadowed(module_name):
            raise EncoderFaultError(f"Encoder {error}") from error
        reason = _shadowed(module_name) or describe_error(error.__cause__ or error) + "."
        raise EncoderFaultError(
            f"Encoder {reference!r} cannot be imported: {reason} Write it as "
            "module:attribute; the module must lie in this folder or be installed."
        ) from error
    if reason := _shadowed(module_name):
        raise EncoderFaultError(f"Encoder {reference!r} has two meanings: {reason}")
    return found


def _shadowed(module_name: str) -> str:
    """Says so where a file of the current folder has the name of another module, which is imported in its place."""
    folder, parts = Path.cwd(), module_name.split(".")
    places = (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py"))
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        return ""
    taken = sys.modules.get(module_name)
    if taken is not None:
        is_other = not _is_same(getattr(taken, "__file__", None), file)
    else:
        # The import failed: it may be that the package around the module is another one.
        taken = sys.modules.get(parts[0])
        is_other = taken is not None and not any(
            _is_same(path, folder / parts[0]) for path in getattr(taken, "__path__", [])
        )
    if taken is None or not is_other:
        return ""
    origin = getattr(taken, "__file__", None)
    place = f"the module {taken.__name__} at {origin}" if origin else f"the built-in module {taken.__name__}"
    return f"{file.relative_to(folder)} in this folder is shadowed by {place}. Rename it."


def _is_same(origin: str | None, file: Path) -> bool:
    return origin is not None and Path(origin).resolve() == file.resolve()


def _made(kind: type, reference: str) -> object:
    try:
        signature = inspect.signature(kind)
        needed = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        # Some built-in classes have no signature.
        needed = []
    if needed:
        raise EncoderFaultError(
            f"Encoder {reference!r} is a class that needs arguments: {', '.join(needed)}. Give them defaults, or name "
            "a ready object of the module, such as encoder = MyEncoder(...)."
        )
    try:
        return kind()
    except (Exception, SystemExit) as error:
        raise EncoderFaultError(f"Encoder {reference!r} cannot be made: {describe_error(error)}.") from error


def _check_callable(made: object, reference: str) -> None:
    if not callable(made):
        kind = "a module" if isinstance(made, ModuleType) else f"an object of type {type(made).__name__}"
        raise EncoderFaultError(
            f"{reference!r} is no encoder but {kind}; expected a callable on uint8 images B H W 3, or a class of such."
        )
    try:
        inspect.signature(made).bind(None)
    except TypeError as error:
        raise EncoderFaultError(
            f"{reference!r} is no encoder: it cannot be called with one argument ({error}). Expected a callable on "
            "uint8 images B H W 3."
        ) from error
    except ValueError:
        # Some built-in functions have no signature; they are found out when they are called.
        return
