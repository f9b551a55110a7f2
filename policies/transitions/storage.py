"""Trained transition models on disk, exact to the bit: tensors as safetensors, what they are in JSON beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor, nn

from pvrbench.common.files import write_atomically
from pvrbench.policies.transitions.base import Transition
from pvrbench.policies.transitions.linear import LinearTransition
from pvrbench.policies.transitions.options import TransformerOptions
from pvrbench.policies.transitions.transformer import TransformerTransition

FORMAT_VERSION = 1
MODEL, EXTRA = "model.", "latent."


@dataclass(frozen=True, slots=True)
class StoredTransition:
    """A model, and the tensors that turn features into its latents.

    Attributes:
        model: the model.
        extra: tensors by name.
    """

    model: Transition
    extra: Mapping[str, Tensor]


def save_transition(
    stored: StoredTransition, folder: Path, digest: str, sizes: tuple[int, int, int], options: TransformerOptions | None
) -> None:
    """Writes a model as `<digest>.safetensors` and `<digest>.json`; the JSON file is written last.

    Args:
        stored: model and further tensors.
        folder: where it goes.
        digest: names the model.
        sizes: tokens of a frame, numbers in a token, numbers in an action block.
        options: of a transformer; None for a linear model.
    """
    state = cast("nn.Module", stored.model).state_dict()
    tensors = {MODEL + name: value for name, value in state.items()}
    tensors |= {EXTRA + name: value for name, value in stored.extra.items()}
    data = serialize({name: value.detach().contiguous().clone() for name, value in tensors.items()})
    content = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "sizes": sizes,
        "transformer": None
        if options is None
        else options.model_dump(mode="json", include={*TransformerOptions.model_fields}),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_atomically(folder / f"{digest}.safetensors", data)
    write_atomically(folder / f"{digest}.json", json.dumps(content, indent=1) + "\n")


def load_transition(folder: Path, digest: str) -> StoredTransition | None:
    """Reads a model, which predicts as the saved one to the last bit; None where there is none that is sound."""
    try:
        content: dict[str, Any] = json.loads((folder / f"{digest}.json").read_bytes())
        data = (folder / f"{digest}.safetensors").read_bytes()
        if content["format_version"] != FORMAT_VERSION or hashlib.sha256(data).hexdigest() != content["sha256"]:
            return None
        tensors, options = parse(data), content["transformer"]
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    sizes = cast("tuple[int, int, int]", tuple(content["sizes"]))
    if options is None:
        model = LinearTransition(*sizes)
    else:
        model = TransformerTransition(*sizes, TransformerOptions.model_validate(options))
    model.load_state_dict(_under(MODEL, tensors))
    return StoredTransition(model.eval().requires_grad_(requires_grad=False), _under(EXTRA, tensors))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
