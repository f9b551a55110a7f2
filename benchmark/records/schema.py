"""One immutable JSON record per cell: the schema. No torch, no simulator."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

SCHEMA_VERSION = 2

Count = Annotated[int, Field(ge=0)]
Precision = Literal["float32", "bfloat16"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cell(_Frozen):
    """The unit of work, storage and statistics; two cells that differ only in these fields are comparable.

    Attributes:
        task: catalog name, `<suite>/<task>`.
        camera: camera of the task.
        encoder: catalog name, plugin name or `module:attribute` reference.
        readout: what is taken from the encoder's features.
        head: behaviour-cloning head.
        num_demos: demonstrations trained on; smaller subsets are prefixes of larger ones.
        seed: seeds the choice of demonstrations, the initialisation and the batches.
    """

    task: str
    camera: str
    encoder: str
    readout: str
    head: str
    num_demos: Count
    seed: Count

    @property
    def key(self) -> str:
        """Short content hash that names the cell."""
        return digest_of(self.model_dump())[:12]

    @property
    def slug(self) -> str:
        """File-name stem: readable, unique by its hash."""
        words = (
            self.task,
            self.camera,
            self.encoder,
            self.readout,
            self.head,
            f"n{self.num_demos}",
            f"s{self.seed}",
        )
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)[:150] + f"-{self.key}"


class Deviation(_Frozen):
    """One departure from the published protocol that a preset is named after, or from the preset.

    Attributes:
        of: what differs: `simulator`, `cameras`, `demonstrations`, `checkpoint`, ..., or the key of a setting.
        here: what is done here.
        original: what the publication does, or for an override the preset.
        effect: which way it moves success rates here, against the original.
        size: by how much, and whence that is known; empty where it is not.
        override: whether the user departed from the preset, rather than the preset from its original.
    """

    of: str
    here: str
    original: str
    effect: Literal["higher", "lower", "none", "unknown"]
    size: str = ""
    override: bool = False

    @property
    def text(self) -> str:
        """The departure in one line."""
        owner = "the preset has" if self.override else "the original:"
        effect = {
            "higher": "reads higher here",
            "lower": "reads lower here",
            "none": "rates are not expected to move",
            "unknown": "effect on rates not known",
        }[self.effect]
        return f"{self.of}: {self.here}; {owner} {self.original} ({effect}{', ' if self.size else ''}{self.size})"


class Settings(_Frozen):
    """All that the configuration fixes and that changes numbers; only where these agree are records compared.

    Attributes:
        preset: the protocol's name.
        render: `full` or `lean`, see `pvrbench.envs.spec.View`.
        image_px: side of the rendered image.
        preprocessing: `full_frame`, or `official` where encoders crop the image as their authors do.
        split: which initial states were evaluated.
        num_episodes: initial states evaluated.
        horizon: control steps after which an episode has failed.
        success_rule: `any_step` (the episode ends at its first success) or `last_step`.
        demo_pool: demonstrations from which each seed draws its own nested subsets.
        history: frames given to the head.
        fusion: how they are combined.
        budget_dim: common width to which features are projected before the head; None leaves them.
        precision: numbers that encoders computed with; left out of the file where it is the ordinary one.
        variant_of: the head of the catalog that the cell's is a variant of; left out of the file where it is none.
        head_options: the head's own options.
        train: optimiser settings.
        deviations: where the protocol departs from the published one it is named after, and the run from its preset;
            said for readers: what follows from it for comparisons stands in the other settings.
    """

    preset: str
    render: Literal["full", "lean"]
    image_px: Count
    preprocessing: Literal["full_frame", "official"]
    split: Literal["selection", "test"]
    num_episodes: Count
    horizon: Count
    success_rule: Literal["any_step", "last_step"]
    demo_pool: Count
    history: Count
    fusion: str
    budget_dim: Count | None
    precision: Precision = Field(default="float32", exclude_if=lambda value: value == "float32")
    variant_of: str = Field(default="", exclude_if=lambda value: not value)
    head_options: Mapping[str, JsonValue]
    train: Mapping[str, JsonValue]
    deviations: tuple[Deviation, ...]

    def differences(self, other: Settings) -> list[str]:
        """Keys whose values differ, the deviations left aside."""
        return [
            key for key in Settings.model_fields if key != "deviations" and getattr(self, key) != getattr(other, key)
        ]


class Digests(_Frozen):
    """Content hashes of everything that went in; two machines that disagree here must not be compared.

    Attributes:
        initial_states: the evaluated initial states.
        demos: the demonstration file.
        encoder: weights, preprocessing and options.
        simulator: versions of the packages that make physics and pictures.
    """

    initial_states: str
    demos: str
    encoder: str
    simulator: Mapping[str, str]


class Provenance(_Frozen):
    """Where a number comes from.

    Attributes:
        version: of this project.
        commit: git commit, with `-dirty` where files were changed; empty outside a checkout.
        python: version of the interpreter.
        packages: versions of the packages that compute.
        platform: operating system and processor.
        device: where the encoder and the heads ran.
        gl: OpenGL renderer that made the images; empty where none were made.
        tile: frames in one encoder call; it enters the last bits of the features.
        encoder: licence, pretraining data and paper of the encoder; URI, commit and official digest of its weights.
    """

    version: str
    commit: str
    python: str
    packages: Mapping[str, str]
    platform: str
    device: str
    gl: str
    tile: Count
    encoder: Mapping[str, JsonValue]


class Cost(_Frozen):
    """What the policy costs; None where it was not measured.

    Attributes:
        encoder_params: frozen parameters.
        readout_params: trained parameters of the readout.
        head_params: trained parameters of the head.
        flops_per_frame: of the encoder, multiply and add counted separately.
        feature_dim: width of the vector that enters the head, proprioception not counted.
    """

    encoder_params: Count
    readout_params: Count
    head_params: Count
    flops_per_frame: Count | None
    feature_dim: Count


class Episode(_Frozen):
    """One evaluation episode.

    Attributes:
        index: position of the initial state in the evaluated split.
        seed: the reset seed of that initial state.
        success: by the success rule of the settings.
        num_steps: control steps until the first success or the horizon.
        failure: why it was given up (the simulator failed, or the encoder gave NaN); None where it was not. Such an
            episode counts as not solved.
    """

    index: Count
    seed: Count
    success: bool
    num_steps: Count
    failure: str | None = None


class CheckpointScore(_Frozen):
    """Success of an intermediate checkpoint: only for the legacy maximum, which is never the headline."""

    num_updates: Count
    num_successes: Count
    num_episodes: Count


class CellRecord(_Frozen):
    """The result of one cell. `timing` and `recorded_at` alone may differ between repetitions.

    Attributes:
        schema_version: of this layout.
        cell: what was run.
        settings: under which protocol.
        digests: on which inputs.
        provenance: by which software and hardware.
        cost: parameters and operations.
        train_log: losses over the updates.
        failure: why the cell has no episodes (its training diverged, say); None where it has.
        episodes: every evaluation episode, in the order of the initial states.
        checkpoints: intermediate evaluations for the legacy checkpoint rule.
        timing: seconds and rates, by name.
        recorded_at: UTC time, ISO 8601.
        digest: hash over all of the above but timing and time; a record edited by hand does not match it.
    """

    schema_version: int = SCHEMA_VERSION
    cell: Cell
    settings: Settings
    digests: Digests
    provenance: Provenance
    cost: Cost
    train_log: Mapping[str, JsonValue]
    failure: str | None
    episodes: tuple[Episode, ...]
    checkpoints: tuple[CheckpointScore, ...] = ()
    timing: Mapping[str, float]
    recorded_at: str
    digest: str = ""

    def sealed(self) -> CellRecord:
        """The same record with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """Hash over everything that must repeat."""
        return digest_of(self.model_dump(mode="json", exclude={"timing", "recorded_at", "digest"}))


def digest_of(value: object) -> str:
    """SHA-256 hex digest of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
