"""What an encoder is, by content: weights, preprocessing, code, and the features of fixed pictures."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from pvrbench.common.code import OWN_PACKAGE, code_digest, describe_error
from pvrbench.encoders.base import Encoder, EncoderFaultError, Features
from pvrbench.encoders.contents import Contents, bytes_of, contents_of
from pvrbench.encoders.digest import preprocessing_digest
from pvrbench.encoders.families.custom import CustomEncoder
from pvrbench.encoders.input_probe import encode, network_of
from pvrbench.encoders.probe_pictures import probe_pictures, signs

# Another processor or another batch moves the last bits; what is wrong moves more.
FAULT_TOLERANCE = 1e-4
PROBE_TOLERANCE = 1e-3
_FIELDS = ("class_token", "grid", "pooled")
_NUM_PROJECTIONS = 5


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """What determines the features of an encoder. JSON-able by `dataclasses.asdict`.

    Attributes:
        weights: hash of parameters, buffers and extra state; of foreign code all values that it holds.
        preprocessing: hash of input size, interpolation, crop, mean, std and options.
        code: hash of the source of an encoder of one's own and of the local modules that it imports.
        probe: for each field of the features of two fixed pictures its norm and 5 random projections; empty for an
            encoder that reads no pictures.
        digest: hash of all these, with the features to the last bit. It is the same only on one kind of machine.
    """

    weights: str
    preprocessing: str
    code: str
    probe: tuple[float, ...]
    digest: str

    def changes(self, recorded: EncoderIdentity) -> list[str]:
        """The names of the parts that differ from what was recorded, in words; empty where it is the same encoder.

        The features of the probe pictures may differ by 1e-3 of their norm, since other processors round differently.
        """
        names = ("weights", "preprocessing", "code")
        found = [name for name in names if getattr(self, name) != getattr(recorded, name)]
        return found if _is_close(self.probe, recorded.probe) else [*found, "features of the probe pictures"]


def identify(encoder: Encoder, image_px: int) -> EncoderIdentity:
    """Identifies an encoder by its content and its behaviour, where it is (CPU or GPU).

    Files that it loads, and whatever else cannot be hashed, show in the features of the probe pictures.

    Args:
        encoder: the encoder.
        image_px: side in pixels of the frames that it will be given.

    Raises:
        EncoderFaultError: features depend on more than the picture; the text names the fault.
    """
    if encoder.spec.modality != "image":
        return _identity(encoder, Contents(), Contents(), None)
    before = _contents(encoder)
    features = check_deterministic(encoder, image_px)
    # A shipped encoder holds nothing that changes with use; hashing a large network once is enough.
    return _identity(encoder, before, before if _is_shipped(encoder) else _contents(encoder), features)


def check_deterministic(encoder: Encoder, image_px: int) -> Features:
    """Refuses an encoder whose features depend on anything but the picture; it must not be ranked.

    It is called three times on two pictures of the given size.

    Returns:
        The features of the first two probe pictures.

    Raises:
        EncoderFaultError: it is random, keeps a state, depends on the other pictures of the batch, changes its input,
            is in train mode, or fails; the text names the fault in one line.
    """
    name = encoder.spec.name
    network = network_of(encoder)
    if network is not None and (part := _in_train_mode(network)):
        raise EncoderFaultError(f"Encoder {name!r} is in train mode ({part}). Call eval() on the network.")
    first, second, third = probe_pictures(image_px)
    pictures = torch.stack([first, second])
    features = _encoded(encoder, pictures)
    _check_same(encoder, features, pictures)
    moved = _encoded(encoder, torch.stack([third, first]))
    change = _change(_row(features, 0), _row(moved, 1))
    if change > FAULT_TOLERANCE:
        raise EncoderFaultError(
            f"Encoder {name!r} gives a picture other features, by {_percent(change)}, when its place or the other "
            f"pictures in the batch change.{_train_hint(encoder)} Each row must depend on its own picture alone."
        )
    return features


def _check_same(encoder: Encoder, features: Features, pictures: Tensor) -> None:
    """Refuses an encoder that gives the same batch other features the second time, and says why it does."""
    change = _change(features, _encoded(encoder, pictures))
    if change <= FAULT_TOLERANCE:
        return
    again: list[Features] = []
    states = (random.getstate(), np.random.get_state())  # noqa: NPY002 - foreign code may draw from it
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        for _ in range(2):
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002
            torch.manual_seed(0)
            again.append(_encoded(encoder, pictures))
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    is_random = _change(*again) <= FAULT_TOLERANCE
    reason = "it draws random numbers" if is_random else "it keeps a state that changes with use"
    raise EncoderFaultError(
        f"Encoder {encoder.spec.name!r} gives the same pictures other features the second time, by {_percent(change)}: "
        f"{reason}.{_train_hint(encoder)} The same picture must always give the same features."
    )


def _encoded(encoder: Encoder, pictures: Tensor) -> Features:
    name, given = encoder.spec.name, pictures.clone()
    try:
        found: object = encode(encoder, given)
    except EncoderFaultError:
        raise
    except Exception as error:
        # The code of an encoder may raise anything; the traceback stays attached.
        size = f"{pictures.shape[2]} x {pictures.shape[1]}"
        raise EncoderFaultError(
            f"Encoder {name!r} fails on pictures of {size} pixels: {describe_error(error)}. "
            "Choose an image_px that it takes, or resize the pictures in its code."
        ) from error
    if not isinstance(found, Features):
        raise EncoderFaultError(f"Encoder {name!r} returned a {type(found).__name__}; expected Features.")
    if not torch.equal(given, pictures):
        raise EncoderFaultError(
            f"Encoder {name!r} changes the pictures that it is given. Let it work on a copy: images = images.clone()."
        )
    for field, value in _named(found).items():
        if len(value) != len(pictures):
            raise EncoderFaultError(
                f"Encoder {name!r} returned {len(value)} rows of {field} for {len(pictures)} pictures. "
                "It must return one row for each picture."
            )
    return found


def _contents(encoder: Encoder) -> Contents:
    """What an encoder holds: the network where it shows one; of foreign code all that can be reached."""
    if isinstance(encoder, CustomEncoder):
        return contents_of(encoder.function)
    network = network_of(encoder)
    if _is_shipped(encoder):
        return contents_of(encoder.digest if network is None else network)
    return contents_of((encoder.digest, encoder))


def _is_shipped(encoder: Encoder) -> bool:
    return type(encoder).__module__.partition(".")[0] == OWN_PACKAGE and not isinstance(encoder, CustomEncoder)


def _identity(encoder: Encoder, before: Contents, after: Contents, features: Features | None) -> EncoderIdentity:
    spec = encoder.spec
    modules = [type(encoder).__module__, spec.entry_point.partition(":")[0]]
    if isinstance(encoder, CustomEncoder):
        modules += encoder.module_names
    weights = before.digest(after) if features is not None else encoder.digest
    preprocessing, code = preprocessing_digest(spec), code_digest(modules)
    content = hashlib.sha256(f"{weights} {preprocessing} {code}".encode())
    probe: list[float] = []
    given = _named(features or Features())
    for name, value in given.items():
        rows = value.detach().float().cpu().contiguous()
        content.update(f" {name} {tuple(rows.shape)} ".encode())
        content.update(bytes_of(rows))
        probe += _summary(rows.reshape(-1))
    return EncoderIdentity(weights, preprocessing, code, tuple(probe), content.hexdigest())


def _summary(values: Tensor) -> list[float]:
    """The norm, and projections on fixed random directions; a change of the values moves these about as much."""
    wide = values.double()
    directions = [signs(len(wide), seed).double() for seed in range(_NUM_PROJECTIONS)]
    return [float(wide.square().sum().sqrt()), *(float((wide * direction).sum()) for direction in directions)]


def _is_close(found: tuple[float, ...], recorded: tuple[float, ...]) -> bool:
    if len(found) != len(recorded):
        return False
    size = 1 + _NUM_PROJECTIONS
    for start in range(0, len(found), size):
        here, there = np.asarray(found[start : start + size]), np.asarray(recorded[start : start + size])
        if not np.allclose(here, there, rtol=0, atol=PROBE_TOLERANCE * max(here[0], there[0]), equal_nan=True):
            return False
    return True


def _named(features: Features) -> dict[str, Tensor]:
    found = {name: cast("Tensor | None", getattr(features, name)) for name in _FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def _row(features: Features, row: int) -> Features:
    return Features(**{name: value[row : row + 1] for name, value in _named(features).items()})


def _change(first: Features, second: Features) -> float:
    """The largest difference of a field over the largest size of its values."""
    largest = 0.0
    there = _named(second)
    for name, value in _named(first).items():
        if name not in there or there[name].shape != value.shape:
            return float("inf")
        here, other = (torch.nan_to_num(part.double()) for part in (value, there[name]))
        if here.numel():
            size = float(torch.maximum(here.abs().max(), other.abs().max()))
            largest = max(largest, float((here - other).abs().max()) / size if size else 0.0)
    return largest


def _in_train_mode(network: nn.Module) -> str:
    """The first part of a network that is in train mode, in words; parts that behave otherwise there come first."""
    modules = cast("Iterator[tuple[str, nn.Module]]", network.named_modules())
    training = [(name, type(part).__name__) for name, part in modules if part.training]
    training.sort(key=lambda item: not item[1].startswith(("BatchNorm", "Dropout", "DropPath")))
    return f"{training[0][1]} {training[0][0]}".strip() if training else ""


def _train_hint(encoder: Encoder) -> str:
    parts = [part for network in _contents(encoder).networks if (part := _in_train_mode(network))]
    return f" Its network is in train mode ({parts[0]}): call eval() on it." if parts else ""


def _percent(change: float) -> str:
    return f"{100 * change:.2g} % of their size" if change < float("inf") else "another shape"
