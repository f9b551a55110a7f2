"""Do tensors fit a network? If not, which are the first that do not, and whose are they?"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.file_format import is_torchscript
from pvrbench.encoders.weights.loading import WeightsError, locate

# What networks have beyond their features; not counted when a network is recognised by its size.
EXTRAS = ("head", "fc.", "decoder", "mask_token")
_TOLERANCE = 0.01


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], spec: EncoderSpec) -> None:
    """Compares names and shapes of the tensors of a network with those given for it.

    Args:
        expected: the network's tensors.
        given: the tensors to be loaded.
        spec: the encoder, for the error.

    Raises:
        WeightsError: some are missing, unexpected or of another shape; the text names the first of them.
    """
    faults = [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    faults += [f"missing {name}" for name in expected if name not in given]
    faults += [f"unexpected {name}" for name in given if name not in expected]
    if faults:
        path = locate(spec)
        kind = " (a TorchScript archive)" if path.is_file() and is_torchscript(path) else ""
        more = f", {len(faults)} in all" if len(faults) > 3 else ""
        raise WeightsError(
            f"The weights at {path}{kind} do not fit {spec.name!r} ({', '.join(faults[:3])}{more}). "
            f"{_whose(given, spec)}"
        )


def _whose(given: Mapping[str, Tensor], spec: EncoderSpec) -> str:
    """The rows of the catalog whose networks have as many parameters and the same width, in words."""
    from pvrbench.encoders.catalog import ENCODERS

    size = sum(value.numel() for name, value in given.items() if not name.startswith(EXTRAS))
    widths = {side for value in given.values() for side in value.shape}
    likely = [
        row.name
        for row in ENCODERS.values()
        if row.weights is not None
        and row.name != spec.name
        and abs(row.num_params - size) <= _TOLERANCE * size
        and row.feature_dim in widths
    ]
    if likely:
        return f"By its size it belongs to {', '.join(likely[:4])}."
    return f"It holds {size / 1e6:.1f} million parameters, as no row does; `pvrbench list encoders` shows them."
