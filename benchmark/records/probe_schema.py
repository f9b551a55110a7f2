"""The record of a probe: one immutable, sealed JSON object. No torch, no simulator."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

from pvrbench.benchmark.records.keys import FROZEN, Count, Frozen, digest_of
from pvrbench.benchmark.records.schema import Digests, Precision, Provenance

PROBE_SCHEMA_VERSION = 1


class ProbeKey(Frozen):
    """What was probed with what."""

    probe: str
    """Catalog name of the probe."""
    task: str
    """Task whose pictures were used."""
    camera: str
    """Camera of the pictures."""
    encoder: str
    """Catalog name, plug-in name, `module:attribute` reference or checkpoint URI."""
    adaptation: str = FROZEN
    """What happened to the encoder before it was probed."""

    @property
    def key(self) -> str:
        """Short content hash."""
        return digest_of(self.model_dump(mode="json"))[:12]

    @property
    def slug(self) -> str:
        """File-name stem: readable, unique by its hash."""
        words = (self.probe, self.task, self.camera, self.encoder)
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)[:150] + f"-{self.key}"


class ProbeSettings(Frozen):
    """Everything that the configuration fixes and that changes numbers."""

    render: str
    """How pictures are rendered, see `View`."""
    image_px: Count
    """Side of the rendered image in pixels."""
    preprocessing: str
    """`full_frame`, or `official` where encoders crop the image as their authors do."""
    precision: Precision
    """Numbers that the encoder computed with."""
    demo_pool: Count
    """Demonstrations that the probe may use."""
    demo_end: str
    """Where demonstrations end."""
    use_proprio: bool
    """Whether probes of actions see proprioception, as heads do."""
    readouts: tuple[str, ...]
    """Readouts of the encoder that the probe compares; empty for probes that read none."""
    options: Mapping[str, JsonValue]
    """The probe's own options."""

    def differences(self, other: ProbeSettings) -> list[str]:
        """Keys whose values differ."""
        return [key for key in ProbeSettings.model_fields if getattr(self, key) != getattr(other, key)]

    def value(self, key: str) -> object:
        """The value of a key that `differences` gave."""
        return getattr(self, key)


class Measure(Frozen):
    """One number that a probe found."""

    name: str
    """What it is: `r2`, `error_cm`, `pck_0.10`, `miou`, ..."""
    of: str = ""
    """What it is about: a quantity, a kind of pair, a method, a choice of block and timestep."""
    readout: str = ""
    """Readout of the encoder; empty for probes that read none."""
    on: str = ""
    """Frames it was measured on: `held_out_demos`, `strayed`; empty where there is one kind."""
    value: float
    """The number."""
    reference: float | None = None
    """The same measure of an answer that does not look at the picture: the mean, chance, positions alone."""
    count: Count
    """Frames, points or pictures that it is a mean of."""


class Picture(Frozen):
    """A picture that shows what a probe found."""

    title: str
    """What is seen."""
    jpeg: str
    """The picture, JPEG in base64."""


class ProbeRecord(Frozen):
    """What one probe found of one encoder on one task; only `timing` and `recorded_at` differ between repetitions."""

    schema_version: int = PROBE_SCHEMA_VERSION
    """Version of this layout."""
    key: ProbeKey
    """What was probed with what."""
    settings: ProbeSettings
    """How."""
    digests: Digests
    """Content hashes of every input; `readout` covers all readouts, `head` and `policy` are empty."""
    probe: str
    """Content hash of the probe: its options, and its code where it is not part of pvrbench."""
    provenance: Provenance
    """By which software and hardware."""
    measures: tuple[Measure, ...]
    """The numbers."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
    pictures: tuple[Picture, ...] = ()
    """Pictures for the report; they do not enter the digest."""
    timing: Mapping[str, float]
    """Seconds, by name."""
    recorded_at: str
    """UTC time, ISO 8601."""
    digest: str = ""
    """Hash over all other fields but pictures, timing and time; a record edited by hand does not match it."""

    def sealed(self) -> ProbeRecord:
        """The same record with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """Hash over everything that must repeat."""
        return digest_of(self.model_dump(mode="json", exclude={"pictures", "timing", "recorded_at", "digest"}))
