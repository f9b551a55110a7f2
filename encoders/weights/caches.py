"""Weights in the caches of other tools: the Hugging Face hub's, torch hub's, CLIP's, R3M's. No network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pvrbench.encoders.rows.caches import PLACES
from pvrbench.encoders.spec import EncoderSpec, WeightsSource

_MAX_NAMED = 4
_SUFFIXES = {".safetensors", ".pt", ".pth", ".tar", ".part"}


def home_dir() -> Path | None:
    """The home folder; None where the account has none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def hub_cache() -> Path:
    """The folder of the Hugging Face hub's cache, by the hub's own rules and variables."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def hub_files(uri: str) -> tuple[str, tuple[str, ...]]:
    """Repository and file names on the hub of a `hf:` or `timm:` URI; the first file is the official one.

    Files of other names hold the same weights in another format; they are read if they are in the cache already.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "timm":
        # timm's QuickGELU architectures share the file of the plain ones.
        return f"timm/{rest.replace('_quickgelu', '')}", ("model.safetensors", "pytorch_model.bin")
    owner, repo, *file = rest.split("/", 2)
    return f"{owner}/{repo}", tuple(file)


def is_on_hub(uri: str) -> bool:
    """Whether a URI names something on the hub."""
    return uri.startswith(("hf:", "timm:"))


def cached_file(repo: str, file: str, revision: str | None) -> Path | None:
    """A file in the hub's cache; without a revision that of the branch main, as the cache notes it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, cache_dir=hub_cache(), revision=revision)
    return Path(found) if isinstance(found, str) else None


def snapshot(source: WeightsSource) -> Path | None:
    """The folder in the hub's cache of a model that is published as a folder."""
    repo, _ = hub_files(source.uri)
    first = cached_file(repo, source.files[0], source.revision)
    return None if first is None else first.parents[source.files[0].count("/")]


def in_hub_cache(source: WeightsSource) -> Path | None:
    """The file of a source, or of one of its mirrors, in the hub's cache."""
    for uri in filter(is_on_hub, (source.uri, *source.mirrors)):
        repo, files = hub_files(uri)
        # A commit is one of its own repository.
        is_own = is_on_hub(source.uri) and repo == hub_files(source.uri)[0]
        # A digest is that of the official file; another format cannot be checked against it.
        for name in files[: 1 if source.sha256 else None]:
            if (path := cached_file(repo, name, source.revision if is_own else None)) is not None:
                return path
    return None


def elsewhere(spec: EncoderSpec) -> dict[Path, str]:
    """The weights of a row where other tools have left them, and the name of each place."""
    places = PLACES.get(spec.name, ())
    if spec.weights is not None:
        addresses = (spec.weights.uri, *spec.weights.mirrors)
        # Torch hub names a file by the end of its address; others are named by a number or a word.
        ends = (uri.rpartition("/")[2] for uri in addresses if uri.startswith("https:"))
        suffixes = (".pt", ".pth", ".pth.tar")
        places += tuple(f"torch:{end}" for end in ends if end.endswith(suffixes) and end != "model.pt")
    found = {path: place for place in places if (path := _path(place)) is not None}
    return {path: place for path, place in found.items() if path.is_file()}


def _path(place: str) -> Path | None:
    scheme, _, rest = place.partition(":")
    if scheme == "hf":
        repo, files = hub_files(place)
        return cached_file(repo, files[0], None)
    if scheme == "torch":
        folder = _torch_checkpoints()
        return None if folder is None else folder / rest
    home = home_dir()
    return None if home is None else home / rest


def _torch_checkpoints() -> Path | None:
    """Torch hub's folder, by the rules of `torch.hub.get_dir`, which is not imported for its weight."""
    if given := os.environ.get("TORCH_HOME"):
        return Path(given).expanduser() / "hub" / "checkpoints"
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache).expanduser() / "torch" / "hub" / "checkpoints"
    home = home_dir()
    return None if home is None else home / ".cache" / "torch" / "hub" / "checkpoints"


def near_by(spec: EncoderSpec, weights_dir: Path) -> str:
    """Files of the same family on this machine, in words; empty where there are none."""
    family = spec.name.partition("_")[0].lower()
    repo = hub_files(spec.weights.uri)[0].lower() if spec.weights and is_on_hub(spec.weights.uri) else family
    wanted = {family, repo.replace("/", "--")} if len(family) > 2 else {repo}
    found = [str(path) for path in _files_near(weights_dir) if any(word in str(path).lower() for word in wanted)]
    more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return f"Near by lie {', '.join(found[:_MAX_NAMED])}{more}, which are not they. " if found else ""


def _files_near(weights_dir: Path) -> Iterator[Path]:
    home = home_dir()
    folders = [weights_dir, _torch_checkpoints(), home / ".cache" / "clip" if home else None]
    for folder in filter(None, folders):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if hub_cache().is_dir():
        yield from sorted(hub_cache().glob("models--*"))
