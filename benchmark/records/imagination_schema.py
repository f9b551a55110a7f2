"""The record of an imagination: one immutable, sealed JSON object. No torch, no simulator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from pvrbench.benchmark.records.keys import Count, Frozen, digest_of
from pvrbench.benchmark.records.probe_schema import Picture
from pvrbench.benchmark.records.schema import Digests, Precision, Provenance

IMAGINATION_SCHEMA_VERSION = 1

Curve = Annotated[tuple[float, ...], Field(min_length=1)]


class ImaginationKey(Frozen):
    """Whose future was imagined by what."""

    task: str
    """Task whose trajectories were used."""
    camera: str
    """Camera of the pictures."""
    encoder: str
    """Catalog name, plug-in name, `module:attribute` reference or checkpoint URI; `oracle` for controls that are no
    encoders."""
    model: str
    """`transformer`, `linear`, or one of the controls `simulator` and `random_actions`."""
    projection: str
    """How channels were reduced: `pca` or `random`; empty where nothing was reduced."""
    seed: Count
    """Seeds the training of the model, a random projection and the planner."""

    @property
    def key(self) -> str:
        """Short content hash."""
        return digest_of(self.model_dump(mode="json"))[:12]

    @property
    def slug(self) -> str:
        """File-name stem: readable, unique by its hash."""
        words = (self.task, self.camera, self.encoder, self.model, self.projection, str(self.seed))
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words if word)[:150] + f"-{self.key}"


class ImaginationSettings(Frozen):
    """Everything that the configuration fixes and that changes numbers."""

    render: str
    """How pictures are rendered, see `View`."""
    image_px: Count
    """Side of the rendered image in pixels."""
    preprocessing: str
    """`full_frame`, or `official` where encoders crop the image as their authors do."""
    precision: Precision
    """Numbers that the encoder computed with."""
    imagination: Mapping[str, JsonValue]
    """The group `imagination` of the configuration, without the names of models, projections and controls."""

    def differences(self, other: ImaginationSettings) -> list[str]:
        """Keys whose values differ."""
        found = [name for name in ("render", "image_px", "preprocessing", "precision") if self._differs(other, name)]
        names = {**self.imagination, **other.imagination}
        return found + [
            f"imagination.{name}" for name in names if self.imagination.get(name) != other.imagination.get(name)
        ]

    def _differs(self, other: ImaginationSettings, name: str) -> bool:
        return getattr(self, name) != getattr(other, name)

    def value(self, name: str) -> object:
        """The value of a key that `differences` gave."""
        group, _, rest = name.rpartition(".")
        return self.imagination.get(rest) if group else getattr(self, name)


class ErrorCurves(Frozen):
    """Errors on one held-out trajectory, means over its start frames; entry h - 1 belongs to horizon h."""

    kind: str
    """Who acted: `expert`, `disturbed` or `random`."""
    seed: Count
    """Reset seed of the trajectory."""
    latent: Curve
    """Distance of the predicted latent from the true one, in units of the training frames' standard deviation."""
    copied: Curve
    """The same for the answer that nothing changes."""
    one_step: Curve
    """The same for one step from the true latent at horizon h - 1."""
    spread: Curve
    """Distance after one step of the model from the predicted and from the true latent at horizon h - 1; the first
    entry is 0."""
    state_cm: Curve
    """Distance in centimetres between the position that a linear probe reads off the predicted latent and the true
    one, mean over the positions that move."""
    encoded_cm: Curve
    """The same read off the true latent: what the encoder and the probe do not know."""
    compounded_cm: Curve
    """Distance between what the probe reads off the predicted and off the true latent."""
    copied_cm: Curve
    """As `state_cm`, for the answer that nothing changes."""


class PlanEpisode(Frozen):
    """Planning from one start to one goal."""

    index: Count
    """Position of the pair."""
    seed: Count
    """Reset seed."""
    expert_steps: Count
    """Control steps of the expert from start to goal."""
    success: bool
    """Whether the task was solved within the budget."""
    num_steps: Count
    """Control steps until the success or the end of the budget."""
    failure: str | None = None
    """Why the simulator gave up; such an episode counts as not solved."""


class ImaginationRecord(Frozen):
    """What one model imagined; only pictures, `timing` and `recorded_at` differ between repetitions."""

    schema_version: int = IMAGINATION_SCHEMA_VERSION
    """Version of this layout."""
    key: ImaginationKey
    """Whose future was imagined by what."""
    settings: ImaginationSettings
    """How."""
    digests: Digests
    """Content hashes of every input; `demos` is that of the training trajectories, `policy` names the stored model."""
    test_trajectories: str
    """Content hash of the held-out trajectories."""
    pairs: str
    """Content hash of the pairs of start and goal; empty where there was no planning."""
    provenance: Provenance
    """By which software and hardware."""
    num_params: Count
    """Parameters of the model."""
    curves: tuple[ErrorCurves, ...]
    """Errors by held-out trajectory; none for the controls that have no model."""
    episodes: tuple[PlanEpisode, ...]
    """Planning, by pair of start and goal."""
    pictures: tuple[Picture, ...] = ()
    """Pictures for the report; they do not enter the digest."""
    timing: Mapping[str, float]
    """Seconds, by name."""
    recorded_at: str
    """UTC time, ISO 8601."""
    digest: str = ""
    """Hash over all of the above but pictures, timing and time; a record edited by hand does not match it."""

    def sealed(self) -> ImaginationRecord:
        """The same record with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """Hash over everything that must repeat."""
        return digest_of(self.model_dump(mode="json", exclude={"pictures", "timing", "recorded_at", "digest"}))
