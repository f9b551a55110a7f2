"""Where weights lie: a local folder first, then the hub's cache, then the hub; one clear error otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.spec import EncoderSpec

if TYPE_CHECKING:
    from torch import Tensor


class WeightsError(RuntimeError):
    """Weights cannot be had or do not fit; the text says what to run where."""


def weights_dir() -> Path:
    """The folder of local weights: PVRBENCH_WEIGHTS, or `weights` beside the other caches."""
    given = os.environ.get("PVRBENCH_WEIGHTS")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("PVRBENCH_CACHE")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache" / "pvrbench") / "weights"


def local_path(spec: EncoderSpec) -> Path:
    """Where the local safetensors file of an encoder lies or would lie."""
    return weights_dir() / f"{spec.name}.safetensors"


def weights_present(spec: EncoderSpec) -> bool:
    """Whether an encoder's weights are on this machine, without loading them."""
    return spec.weights is None or local_path(spec).is_file() or _in_hub_cache(spec) is not None


def locate(spec: EncoderSpec) -> Path:
    """The file with an encoder's weights: the local one, the one in the hub's cache, or one downloaded now.

    Raises:
        WeightsError: it cannot be had; the text names each remedy.
    """
    path = local_path(spec)
    return path if path.is_file() else _in_hub_cache(spec) or _download(spec)


def state_dict(spec: EncoderSpec) -> Mapping[str, Tensor]:
    """The weights of an encoder, from the local file, the hub's cache or the hub.

    Raises:
        WeightsError: they cannot be had; the text names each remedy.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    path = locate(spec)
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is not a sound safetensors file ({error}). Remove it and fetch it again."
        ) from error


def _hub_file(spec: EncoderSpec) -> tuple[str, str]:
    """Repository and file name on the hub: `hf:<owner>/<repo>/<file>`, or the repository that timm names."""
    if spec.weights is None:
        raise WeightsError(f"Encoder {spec.name!r} has no weights.")
    scheme, _, rest = spec.weights.uri.partition(":")
    if scheme == "timm":
        return f"timm/{rest}", "model.safetensors"
    owner, repo, file = rest.split("/", 2)
    return f"{owner}/{repo}", file


def _in_hub_cache(spec: EncoderSpec) -> Path | None:
    if spec.weights is None:
        return None
    repo, file = _hub_file(spec)
    root = Path(
        os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface") / "hub"
    )
    snapshots = root / f"models--{repo.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob(f"{spec.weights.revision or '*'}/{file}"))
    return found[-1] if found else None


def _download(spec: EncoderSpec) -> Path:
    repo, file = _hub_file(spec)
    remedy = (
        f"On a machine with network run `pvrbench weights fetch {spec.name}` and copy "
        f"{spec.name}.safetensors to {weights_dir()} (or name its folder by PVRBENCH_WEIGHTS)."
    )
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}:
        raise WeightsError(f"The weights of {spec.name!r} are not on this machine, and HF_HUB_OFFLINE is set. {remedy}")
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.hf_hub_download(repo, file, revision=spec.weights.revision if spec.weights else None)
        )
    except Exception as error:
        raise WeightsError(
            f"The weights of {spec.name!r} are not on this machine and {repo} cannot be reached "
            f"({type(error).__name__}). {remedy}"
        ) from error


def fetch(spec: EncoderSpec) -> Path:
    """Downloads an encoder's weights and stores them as `<name>.safetensors` with source and licence.

    Raises:
        WeightsError: the encoder has no published weights, or they cannot be had.
    """
    import safetensors.torch

    if spec.weights is None:
        raise WeightsError(f"Encoder {spec.name!r} has no weights to fetch.")
    target = local_path(spec)
    if target.is_file():
        return target
    source = _in_hub_cache(spec) or _download(spec)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    metadata = {"source": spec.weights.uri, "licence": spec.licence}
    safetensors.torch.save_file(safetensors.torch.load_file(source), part, metadata=metadata)
    part.replace(target)
    return target
