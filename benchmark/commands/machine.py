"""Bodies of `pvrbench doctor | cache`: the machine, and what it keeps."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import ClassVar, Literal

from pvrbench.benchmark.commands.verb import Verb, VerbSettings, print_json, terminal
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.hardware import cache_root


class DoctorSettings(VerbSettings):
    """Settings of `pvrbench doctor`."""

    as_json: bool = False
    """Print JSON for a program to read."""


class CacheSettings(VerbSettings):
    """Settings of `pvrbench cache`."""

    subjects: ClassVar[tuple[str, ...]] = ("action",)

    action: Literal["info", "verify", "clear"]
    """What is done with the feature cache."""


def doctor(settings: DoctorSettings) -> int:
    """Checks the machine."""
    from pvrbench.benchmark.commands.doctor import examine, render_findings

    findings = examine()
    if settings.as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        terminal().print(render_findings(findings))
    return 0 if all(finding.ok for finding in findings) else 1


def cache_command(settings: CacheSettings) -> int:
    """Shows, verifies or clears the feature cache."""
    from pvrbench.benchmark.engine.cache import FeatureCache

    config = compose_config([])
    cache = FeatureCache(cache_root(config.engine.cache_dir) / "features", int(config.engine.cache_gib * 2**30))
    match settings.action:
        case "info":
            info = cache.info()
            text = f"{info.num_entries} entries, {info.size_bytes / 2**20:.1f} of {info.limit_bytes / 2**20:.0f} MiB"
            sys.stdout.write(f"{info.path}: {text}\n")
            return 0
        case "verify":
            damaged = cache.verify()
            sys.stdout.write("".join(f"damaged: {path}\n" for path in damaged) or "all entries are sound\n")
            return 1 if damaged else 0
        case _:
            sys.stdout.write(f"{cache.clear()} entries removed\n")
            return 0


DOCTOR = Verb(
    name="doctor",
    summary="Render a frame in each suite; say what is missing and how to mend it.",
    settings=DoctorSettings,
    body=doctor,
)
CACHE = Verb(
    name="cache", summary="Show, check or empty the feature cache.", settings=CacheSettings, body=cache_command
)
