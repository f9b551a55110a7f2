"""Trained policies on disk, exact to the bit: tensors in a safetensors file, what describes them in JSON beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor, nn

from pvrbench.common.files import write_atomically
from pvrbench.policies.base import Policy, Training, build_head
from pvrbench.policies.spec import HeadSpec

# Rises when the meaning of the files changes.
FORMAT_VERSION = 1

HEAD, READOUT = "head.", "trained_readout."


class PolicyFileError(ValueError):
    """A stored policy that is absent, damaged or not the one that was asked for."""


def save_policy(policy: Policy, folder: Path, digest: str, about: Mapping[str, object] | None = None) -> None:
    """Writes a policy as `<digest>.safetensors` and `<digest>.json`; a reader never sees half of a file.

    The JSON file is written last, so a policy without it is not there yet. Checkpoints are not stored.

    Args:
        policy: the policy; of a trained readout, parameters and buffers are written, not its code.
        folder: the folder, which must exist; files of the same digest are replaced.
        digest: names the policy.
        about: what the caller wants to know when it loads the policy, see `read_about`.
    """
    exported, description = policy.export()
    readout = {} if policy.trained_readout is None else policy.trained_readout.state_dict()
    tensors = {
        **{HEAD + name: value for name, value in exported.items()},
        **{READOUT + name: value for name, value in readout.items()},
    }
    # Copied, for tensors that share memory cannot be written.
    data = serialize(
        {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    )
    content = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "head": _identity(policy.spec),
        "has_trained_readout": policy.trained_readout is not None,
        "tensors": {name: [str(value.dtype).removeprefix("torch."), *value.shape] for name, value in tensors.items()},
        "sha256": hashlib.sha256(data).hexdigest(),
        "num_params": dict(policy.num_params),
        "train_log": dict(policy.train_log),
        "failure": policy.failure,
        "description": dict(description),
        "about": dict(about or {}),
    }
    write_atomically(folder / f"{digest}.safetensors", data)
    write_atomically(folder / f"{digest}.json", json.dumps({**content, "seal": _seal(content)}, indent=1).encode())


def load_policy(folder: Path, digest: str, spec: HeadSpec, trained_readout: nn.Module | None = None) -> Policy:
    """Reads a policy, which acts as the saved one to the last bit.

    Args:
        folder: where `save_policy` wrote it.
        digest: its name.
        spec: its head, with the options that it was trained with.
        trained_readout: where the policy has one, a module of the same architecture; its parameters are overwritten.

    Raises:
        PolicyFileError: a file is missing, truncated, edited or of another version, it holds another head, or the
            readout does not fit.
    """
    path = folder / f"{digest}.json"
    content = _content(path)
    found, expected = content["head"], _identity(spec)
    if found != expected:
        name = next(name for name in expected if found.get(name) != expected[name])
        raise PolicyFileError(
            f"{path} holds head {found['name']!r} with {name} {json.dumps(found.get(name))}; expected "
            f"{json.dumps(expected[name])} of head {spec.name!r}. Load it with the head that it was trained with."
        )
    tensors = _tensors(folder / f"{digest}.safetensors", content["sha256"])
    training = Training(
        spec=spec,
        num_params=content["num_params"],
        train_log=content["train_log"],
        failure=content["failure"],
        trained_readout=_readout(path, content["has_trained_readout"], trained_readout, _under(READOUT, tensors)),
    )
    return build_head(spec).restore(_under(HEAD, tensors), content["description"], training)


def read_about(folder: Path, digest: str) -> Mapping[str, object]:
    """What was said about a policy when it was saved.

    Raises:
        PolicyFileError: the JSON file is missing, truncated, edited or of another version.
    """
    return _content(folder / f"{digest}.json")["about"]


def _identity(spec: HeadSpec) -> dict[str, Any]:
    return {"name": spec.name, "entry_point": spec.entry_point, "options": spec.options.model_dump(mode="json")}


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PolicyFileError(f"{path} does not exist. Train the policy again.") from error


def _content(path: Path) -> dict[str, Any]:
    """The JSON file, once it is known to be what was written."""
    try:
        content = json.loads(_read(path))
    except ValueError as error:
        if isinstance(error, PolicyFileError):
            raise
        raise PolicyFileError(f"{path} is not a whole JSON file ({error}). Train the policy again.") from error
    version = cast("dict[str, Any]", content).get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise PolicyFileError(
            f"{path} has format version {version!r}; this version reads {FORMAT_VERSION}. Train the policy again."
        )
    content = cast("dict[str, Any]", content)
    if content.pop("seal", None) != _seal(content):
        raise PolicyFileError(f"{path} was edited after it was written. Train the policy again.")
    return content


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PolicyFileError(
            f"{path} is truncated or was edited: its SHA-256 is not the one in its JSON file. Train the policy again."
        )
    try:
        return parse(data)
    except SafetensorError as error:
        raise PolicyFileError(f"{path} is not a safetensors file ({error}). Train the policy again.") from error


def _readout(
    path: Path,
    is_expected: bool,  # noqa: FBT001 - from JSON
    readout: nn.Module | None,
    state: Mapping[str, Tensor],
) -> nn.Module | None:
    """The caller's module with the stored parameters."""
    if is_expected != (readout is not None):
        have = "has a trained readout; give a module of its architecture" if is_expected else "has no trained readout"
        raise PolicyFileError(f"The policy in {path} {have}: trained_readout={'...' if is_expected else 'None'}.")
    if readout is None:
        return None
    try:
        readout.load_state_dict(state)
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        raise PolicyFileError(
            f"The trained readout given for {path} is not of the saved architecture. {problem}"
        ) from error
    return readout.eval().requires_grad_(requires_grad=False)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
