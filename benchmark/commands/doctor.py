"""Examines the machine: a frame from each suite, versions, device, weights; every failure with its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from pvrbench.benchmark.catalog import encoders, tasks
from pvrbench.benchmark.engine.provenance import PACKAGES, package_versions, processor
from pvrbench.envs.pictures.gl import gl_remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """One examined point.

    Attributes:
        name: what was examined.
        ok: whether it will do.
        detail: what was found.
        remedy: what to do where it will not.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


# The frame is rendered in a process of its own: broken OpenGL drivers abort rather than raise.
RENDER = """
import sys
from pvrbench.benchmark.engine.context import load_task
from pvrbench.benchmark.catalog import tasks
from pvrbench.envs.spec import View
from pvrbench.envs.pictures.context import gl_renderer
import hashlib
spec = tasks()[sys.argv[1]]
task = load_task(spec)
env = task.make_env(View(camera=spec.cameras[0], image_px=112, render="lean"))
image = env.reset(task.initial_states("demos", 1).seeds[0])["image"]
env.close()
print("\\t".join(["frame", gl_renderer(), hashlib.sha256(image.tobytes()).hexdigest()[:16], f"{image.std():.1f}"]))
"""


def examine() -> list[Finding]:
    """Examines everything a run needs; seconds for each suite."""
    findings = [_python(), _device(), _space()]
    # One task of each simulator; several suites may share one.
    simulators = {spec.packages: spec.name for spec in reversed(list(tasks().values()))}
    suites = {name.partition("/")[0]: name for name in simulators.values()}
    findings += [_frame(suite, task) for suite, task in sorted(suites.items())]
    findings += [_weights()]
    return findings


def render_findings(findings: list[Finding]) -> Table:
    """The findings as a table for the terminal."""
    table = Table("", "what", "found", box=None)
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("FAILED", "red")
        remedy = () if finding.ok else ("\n", ("remedy:", "bold"), f" {finding.remedy}")
        table.add_row(mark, Text(finding.name), Text.assemble(finding.detail, *remedy))
    return table


def _python() -> Finding:
    versions = ", ".join(f"{name} {version}" for name, version in package_versions(PACKAGES).items())
    return Finding("versions", ok=True, detail=f"Python {sys.version.split()[0]}, {versions}")


def _device() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("device", ok=False, detail=f"torch cannot be imported: {error}", remedy="make clean setup")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{processor()}, {cores} cores"
    if torch.cuda.is_available():
        detail += f"; GPU {torch.cuda.get_device_name()}"
    else:
        detail += "; no GPU"
    return Finding("device", ok=True, detail=detail)


def _space() -> Finding:
    from pvrbench.benchmark.engine.hardware import cache_root

    root = cache_root(None)
    folder = next(path for path in [root, *root.parents] if path.exists())
    free_gib = shutil.disk_usage(folder).free / 2**30
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    return Finding(
        "cache",
        ok=writable and free_gib > 1,
        detail=f"{root}: {free_gib:.0f} GiB free" + ("" if writable else ", not writable"),
        remedy="Set PVRBENCH_CACHE to a folder with space that you may write.",
    )


def _frame(suite: str, task: str) -> Finding:
    command = [sys.executable, "-c", RENDER, task]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        return Finding(suite, ok=False, detail="no frame within 180 s", remedy="Try MUJOCO_GL=egl or MUJOCO_GL=osmesa.")
    line = next((line for line in result.stdout.splitlines() if line.startswith("frame\t")), None)
    if line is None:
        last = (result.stderr.strip().splitlines() or [f"ended with code {result.returncode}"])[-1]
        return Finding(
            suite,
            ok=False,
            detail=f"{task} cannot be rendered: {last}",
            remedy=gl_remedy(),
        )
    _, renderer, pixel_hash, spread = line.split("\t")
    ok = float(spread) > 1
    return Finding(
        suite,
        ok=ok,
        detail=f"{task} rendered by {renderer}, pixel hash {pixel_hash}",
        remedy="The picture is of one colour: the OpenGL driver is broken. Try MUJOCO_GL=osmesa.",
    )


def _weights() -> Finding:
    from pvrbench.encoders.weights.loading import weights_present

    needed = [spec for spec in encoders().values() if spec.weights is not None]
    present = [spec.name for spec in needed if weights_present(spec)]
    detail = f"{len(present)} of {len(needed)} published encoders present"
    if present:
        detail += ": " + ", ".join(present)
    detail += "; `pvrbench weights fetch NAME` gets one. Encoders without weights always work."
    return Finding("weights", ok=True, detail=detail)
