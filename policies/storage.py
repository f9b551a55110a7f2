"""Trained heads on disk, exact to the bit: tensors and what describes them in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from pvrbench.policies.heads.network import Layer
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.training.cloned_head import BatchNorm, ClonedHead, build_output
from pvrbench.policies.training.normalization import Scaling

# The key under which the description lies in the file's metadata; the number rises when its meaning changes.
DESCRIPTION_KEY = "pvrbench_head_1"


def save_head(head: ClonedHead, path: Path) -> None:
    """Writes a head to a file, all at once: a reader never sees half of it.

    Args:
        head: the head; of a readout in front, parameters and buffers are written, not its code.
        path: the file, customarily `*.safetensors`; one that exists is replaced.
    """
    description = {
        "spec": asdict(head.spec),
        "num_params": dict(head.num_params),
        "train_log": dict(head.train_log),
        "failure": head.failure,
        "use_proprio": head.use_proprio,
        "noise_dim": head.noise_dim,
        "has_front": head.front is not None,
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(head).items()}
    save_file(tensors, partial, metadata={DESCRIPTION_KEY: json.dumps(description)})
    partial.replace(path)


def load_head(path: Path, front: nn.Module | None = None) -> ClonedHead:
    """Reads a head, which acts as the saved one to the last bit.

    Args:
        path: a file that `save_head` wrote.
        front: where the head has a readout in front, one of the same architecture; its parameters are overwritten.

    Raises:
        ValueError: the file holds no head, or `front` does not fit it.
    """
    description, tensors = _read(path)
    if description["has_front"] != (front is not None):
        wanted = "has a readout in front; give one of the same architecture" if front is None else "reads vectors"
        raise ValueError(f"The head in {path} {wanted}: load_head(path, front={'...' if front is None else 'None'}).")
    if front is not None:
        state = _under("front.", tensors)
        try:
            front.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"The readout given for {path} is not of the saved architecture. {error}") from error
        front = front.eval().requires_grad_(requires_grad=False)
    spec = _spec(description["spec"])
    depth = sum(name.startswith("layers.") for name in tensors) // 2
    norm = _under("batch_norm.", tensors)
    return ClonedHead(
        spec=spec,
        layers=tuple(Layer(**_under(f"layers.{position}.", tensors)) for position in range(depth)),
        output=build_output(spec),
        inputs=Scaling(**_under("inputs.", tensors)),
        actions=Scaling(**_under("actions.", tensors)),
        batch_norm=BatchNorm(**norm) if norm else None,
        front=front,
        num_params=description["num_params"],
        train_log=description["train_log"],
        failure=description["failure"],
        use_proprio=description["use_proprio"],
        noise_dim=description["noise_dim"],
    )


def _tensors(head: ClonedHead) -> dict[str, Tensor]:
    tensors = {
        "inputs.mean": head.inputs.mean,
        "inputs.std": head.inputs.std,
        "actions.mean": head.actions.mean,
        "actions.std": head.actions.std,
    }
    for position, layer in enumerate(head.layers):
        tensors[f"layers.{position}.weight"] = layer.weight
        tensors[f"layers.{position}.bias"] = layer.bias
    if head.batch_norm is not None:
        tensors |= {"batch_norm.scale": head.batch_norm.scale, "batch_norm.shift": head.batch_norm.shift}
    if head.front is not None:
        tensors |= {f"front.{name}": value for name, value in head.front.state_dict().items()}
    return tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        # The reader has no types: what it gives is strings by name and tensors by name.
        with cast("Any", safe_open)(path, framework="pt") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
            tensors = {name: cast("Tensor", file.get_tensor(name)) for name in cast("list[str]", file.keys())}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}). Train and save the head again.") from error
    if DESCRIPTION_KEY not in metadata:
        raise ValueError(f"{path} holds no head that save_head of this version wrote. Train and save the head again.")
    return json.loads(metadata[DESCRIPTION_KEY]), tensors


def _spec(fields: Mapping[str, Any]) -> HeadSpec:
    """The spec; JSON knows no tuples, so lists become them again."""
    options = cast("Mapping[str, object]", fields["options"])
    kept = {
        name: tuple(cast("list[object]", value)) if isinstance(value, list) else value
        for name, value in options.items()
    }
    return HeadSpec(
        name=fields["name"],
        entry_point=fields["entry_point"],
        description=fields["description"],
        options=kept,
        paper=fields["paper"],
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
