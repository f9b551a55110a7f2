"""Where a number comes from: versions, commit, hardware. The commit is read once for a process."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

from pvrbench.benchmark.config import EngineConfig
from pvrbench.benchmark.records.schema import Provenance
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.loading import origin
from pvrbench.envs.makers import makers_of
from pvrbench.envs.spec import LEAN_VERSION, RenderMode, TaskSpec

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "diffusers",
    "numpy",
    "mujoco",
    "metaworld",
    "robosuite",
    "gymnasium",
)
ROOT = Path(__file__).resolve().parents[2]


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of the installed distributions among `names`; those that are absent are left out."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def simulator_versions(task: TaskSpec, render: RenderMode) -> dict[str, str]:
    """Versions and hashes of all that makes a task's physics and pictures; `lean` pictures have one of their own."""
    versions = makers_of(task)
    if render == "lean":
        simplifier = package_versions(["fast_simplification"])
        versions["lean"] = " ".join([str(LEAN_VERSION), *simplifier.values()])
    return versions


def source_commit(root: Path | None = None) -> str:
    """Commit of a checkout, `-dirty` where tracked files differ; empty outside a checkout.

    What lies in `results/` is left out: a run that writes there does not change what runs.

    Args:
        root: the checkout; None is this project's, read once for a process, see `own_commit`.
    """
    return own_commit() if root is None else _commit(root)


@cache
def own_commit() -> str:
    """Commit of this project's checkout when the process first asked: later ones name code that does not run here."""
    return _commit(ROOT)


def _commit(root: Path) -> str:
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "-uno", "--", ".", ":(exclude)results")
    return f"{commit}-dirty" if commit and changes else commit


def provenance(
    device: str, gl: str, engine: EngineConfig, encoder: EncoderSpec, demos: Mapping[str, JsonValue]
) -> Provenance:
    """The provenance of the cells of one encoder.

    Args:
        device: where encoder and heads run, in words.
        gl: OpenGL renderer; empty where no images were made.
        engine: tile and precision of the encoder's calls.
        encoder: the encoder.
        demos: where the demonstrations come from.
    """
    from pvrbench.benchmark.engine.processor import uses_tf32  # imports torch

    found = origin(encoder)
    return Provenance(
        version=package_versions(["pvrbench"]).get("pvrbench", "0"),
        commit=source_commit(),
        python=platform.python_version(),
        packages=package_versions(PACKAGES),
        platform=f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        device=device,
        gl=gl,
        tile=engine.tile,
        encoder={
            "objective": encoder.objective,
            "licence": encoder.licence,
            "non_commercial": encoder.non_commercial,
            "pretraining_data": encoder.pretraining_data,
            "pretraining_tasks": list(encoder.pretraining_tasks) or None,
            "paper": encoder.paper,
            "image_size": encoder.image_size,
            "weights": found.get("source") or (encoder.weights.uri if encoder.weights else None),
            "weights_revision": found.get("revision"),
            "weights_sha256": found.get("official_sha256"),
            "options": dict(encoder.options),
            "precision": engine.precision,
            "tf32": uses_tf32(),
        },
        demos=demos,
    )


def processor() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _git(root: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
