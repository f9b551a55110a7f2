"""Records of earlier schemas as records of this one: pure functions from JSON value to JSON value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.schema import SCHEMA_VERSION

# What a seal never covered.
UNSEALED = ("timing", "recorded_at", "digest")

Json = dict[str, Any]


class MigrationError(ValueError):
    """A record of an earlier schema cannot be taken over; the text says why."""


def migrated(value: Json) -> Json:
    """A record of any known schema as one of this version; one of this version comes back as it is.

    Raises:
        MigrationError: the version is not known, or the record does not match the digest it was sealed with.
    """
    version = value.get("schema_version")
    if version == SCHEMA_VERSION:
        return value
    step = MIGRATIONS.get(version) if type(version) is int else None
    if step is None:
        known = ", ".join(str(number) for number in (*MIGRATIONS, SCHEMA_VERSION))
        raise MigrationError(f"has schema version {version!r}; this program reads {known}")
    sealed_with = value.get("digest")
    if sealed_with != digest_of({key: part for key, part in value.items() if key not in UNSEALED}):
        raise MigrationError("was changed after it was written (its digest does not match its content)")
    found = step(value)
    found["migrated_from"] = f"schema {version}, digest {sealed_with}"
    found["digest"] = digest_of({key: part for key, part in found.items() if key not in UNSEALED})
    return found


def _from_2(value: Json) -> Json:
    """Schema 2 knew one task, one camera and one look for training and evaluation, and frozen encoders alone."""
    try:
        cell, settings = dict(cast("Json", value["cell"])), dict(cast("Json", value["settings"]))
        digests, provenance = dict(cast("Json", value["digests"])), dict(cast("Json", value["provenance"]))
        split = settings.pop("split")
        train = {
            "tasks": [cell["task"]],
            "camera": cell["camera"],
            "encoder": cell["encoder"],
            "adaptation": "frozen",
            "readout": cell["readout"],
            "head": cell["head"],
            "num_demos": cell["num_demos"],
            "seed": cell["seed"],
        }
        place = {
            "task": cell["task"],
            "instruction": "",
            "camera": cell["camera"],
            "look": "nominal",
            "split": split,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise MigrationError(f"does not follow schema 2 ({type(error).__name__}: {error})") from error
    absent: Json = {"encoder_parts": {}, "encoder_probe": []}
    absent |= dict.fromkeys(("adaptation", "readout", "head", "policy", "look", "renderer"), "")
    return {
        **value,
        "schema_version": 3,
        "cell": {"train": train, "evaluation": place},
        "settings": settings,
        "digests": {**absent, **digests},
        "provenance": {"demos": {}, **provenance},
    }


MIGRATIONS: Mapping[int, Callable[[Json], Json]] = {2: _from_2}
