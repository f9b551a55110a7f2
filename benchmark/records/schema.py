"""The record of a cell: one immutable, sealed JSON object. No torch, no simulator.

The JSON Schema and the table of fields in the docs are generated from this module, see `documentation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, JsonValue

from pvrbench.benchmark.records.keys import NOMINAL, Cell, Count, Frozen, digest_of

SCHEMA_VERSION = 3

Precision = Literal["float32", "bfloat16"]

# Settings that only an evaluation has. All others but the preset's name and its deviations make the policy.
OF_EVALUATION = ("num_episodes", "episode_schedule", "horizon", "success_rule", "trained_render", "trained_image_px")
OF_READERS = ("preset", "deviations", "variant_of")


class Deviation(Frozen):
    """One departure from the published protocol that a preset is named after, or from the preset."""

    of: str
    """What differs: `simulator`, `cameras`, `demonstrations`, `checkpoint`, ..., or the key of a setting."""
    here: str
    """What is done here."""
    original: str
    """What the publication does; for an override what the preset does."""
    effect: Literal["higher", "lower", "none", "unknown"]
    """Which way it moves success rates here, compared with the original."""
    size: str = ""
    """By how much, and how that is known; empty where it is not known."""
    override: bool = False
    """Whether the user departed from the preset, rather than the preset from its original."""

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


class Settings(Frozen):
    """Everything that the configuration fixes and that changes numbers; records are compared only where it agrees."""

    preset: str
    """Name of the protocol."""
    render: Literal["full", "lean"]
    """How pictures are rendered, see `View`."""
    image_px: Count
    """Side of the rendered image in pixels."""
    trained_render: Literal["", "full", "lean"] = Field(default="", exclude_if=lambda value: not value)
    """How the pictures that the policy learnt from were rendered; left out where it is `render`."""
    trained_image_px: Count = Field(default=0, exclude_if=lambda value: value == 0)
    """Their side in pixels; left out where it is `image_px`."""
    preprocessing: Literal["full_frame", "official"]
    """`full_frame`, or `official` where encoders crop the image as their authors do."""
    num_episodes: Count
    """Initial states that were planned to be evaluated."""
    episode_schedule: str = Field(default="fixed", exclude_if=lambda value: value == "fixed")
    """Which of the planned episodes are run; left out where it is `fixed`, which runs all of them."""
    horizon: Count
    """Control steps after which an episode has failed."""
    success_rule: Literal["any_step", "last_step"]
    """`any_step` (the episode ends at its first success) or `last_step`."""
    demo_pool: Count
    """Demonstrations from which each seed draws its own nested subsets."""
    demo_end: str = Field(default="first_success", exclude_if=lambda value: value == "first_success")
    """Where demonstrations end: `first_success`, `hold_<steps>` or `full_horizon`; left out where it is the first."""
    train_looks: tuple[str, ...] = Field(default=(NOMINAL,), exclude_if=lambda value: value == (NOMINAL,))
    """Looks of the demonstrations, which take turns; left out where they are all nominal."""
    history: Count
    """Frames given to the head."""
    fusion: str
    """How the frames given to the head are combined: `none`, `concat` or `flare`."""
    budget_dim: Count | None
    """Common width to which features are projected before the head; null leaves them."""
    precision: Precision = Field(default="float32", exclude_if=lambda value: value == "float32")
    """Numbers that encoders computed with; left out where it is `float32`."""
    variant_of: str = Field(default="", exclude_if=lambda value: not value)
    """The head of the catalog that the cell's head is a variant of; left out where it is none."""
    head_options: Mapping[str, JsonValue]
    """The head's own options."""
    adaptation_options: Mapping[str, JsonValue] = Field(default={}, exclude_if=lambda value: not value)
    """The options of the adaptation; left out where it has none."""
    train: Mapping[str, JsonValue]
    """Optimiser settings."""
    deviations: tuple[Deviation, ...]
    """Departures from the published protocol, and of the run from its preset; for readers."""

    def differences(self, other: Settings) -> list[str]:
        """Keys whose values differ, the deviations left aside."""
        return [
            key for key in Settings.model_fields if key != "deviations" and getattr(self, key) != getattr(other, key)
        ]

    @property
    def of_training(self) -> dict[str, JsonValue]:
        """The settings that determine a trained policy."""
        return self.model_dump(mode="json", exclude={*OF_EVALUATION, *OF_READERS})


class Digests(Frozen):
    """Content hashes of every input. An empty one was not recorded, as in records of earlier versions."""

    initial_states: str
    """The evaluated initial states."""
    demos: str
    """The pool of demonstrations."""
    encoder: str
    """Weights, preprocessing, options and code of the encoder."""
    encoder_parts: Mapping[str, str] = {}
    """Hashes of its parts: `weights`, `preprocessing`, `code`."""
    encoder_probe: tuple[float, ...] = ()
    """Summary of the features of a fixed probe picture, for what cannot be hashed; equal up to rounding."""
    adaptation: str = ""
    """Options and code of the adaptation."""
    readout: str = ""
    """Options and code of the readout."""
    head: str = ""
    """Code of the head; its options are in the settings."""
    text_encoder: str = Field(default="", exclude_if=lambda value: not value)
    """Weights and code of the text encoder, and the instructions of the training; left out where there is none."""
    policy: str = ""
    """The trained policy, which is stored under this name."""
    look: str = ""
    """Options and code of the look; empty for the nominal one."""
    train_looks: str = Field(default="", exclude_if=lambda value: not value)
    """Options and code of the looks of the demonstrations; left out where they are nominal."""
    simulator: Mapping[str, str]
    """Versions of the packages that make physics and pictures."""
    renderer: str = ""
    """Kind of OpenGL renderer that made the pictures; empty where none were made."""


class Provenance(Frozen):
    """Where a number comes from."""

    version: str
    """Version of this project."""
    commit: str
    """Git commit, with `-dirty` where files were changed; empty outside a checkout."""
    python: str
    """Version of the interpreter."""
    packages: Mapping[str, str]
    """Versions of the packages that compute."""
    platform: str
    """Operating system and processor."""
    device: str
    """Where the encoder and the heads ran."""
    gl: str
    """OpenGL renderer that made the images; empty where none were made."""
    tile: Count
    """Frames in one encoder call; it enters the last bits of the features."""
    encoder: Mapping[str, JsonValue]
    """Licence, pretraining data and paper of the encoder; URI, commit and official digest of its weights."""
    demos: Mapping[str, JsonValue] = {}
    """Where the demonstrations come from: scripted or imported, noise, where they end."""


class Cost(Frozen):
    """What the policy costs; null where it was not measured."""

    encoder_params: Count
    """Parameters of the encoder as it was loaded."""
    adapted_params: Count = Field(default=0, exclude_if=lambda value: value == 0)
    """Trained parameters of the encoder, those that an adaptation adds included; left out where it is frozen."""
    readout_params: Count
    """Trained parameters of the readout."""
    head_params: Count
    """Trained parameters of the head."""
    flops_per_frame: Count | None
    """Operations of the encoder for one frame, multiplications and additions counted apart."""
    feature_dim: Count
    """Width of the vector that enters the head, proprioception not counted."""


class Episode(Frozen):
    """One evaluation episode."""

    index: Count
    """Position of the initial state in the evaluated split."""
    seed: Count
    """The reset seed of that initial state."""
    success: bool
    """Whether it was solved, by the success rule of the settings."""
    num_steps: Count
    """Control steps until the first success or the horizon."""
    failure: str | None = None
    """Why it was given up (the simulator failed, or the encoder gave NaN); such an episode counts as not solved."""
    handled: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Objects that were moved or touched, in order; left out where there are none, or the task knows of none."""


class CheckpointScore(Frozen):
    """Success of an intermediate checkpoint: only for the legacy maximum, which is never the headline."""

    num_updates: Count
    """Updates after which the parameters were kept."""
    num_successes: Count
    """Episodes solved."""
    num_episodes: Count
    """Episodes evaluated."""


class CellRecord(Frozen):
    """The result of one cell. Only `timing` and `recorded_at` may differ between repetitions."""

    schema_version: int = SCHEMA_VERSION
    """Version of this layout."""
    cell: Cell
    """What was run."""
    settings: Settings
    """Under which protocol."""
    digests: Digests
    """On which inputs."""
    provenance: Provenance
    """By which software and hardware."""
    cost: Cost
    """Parameters and operations."""
    train_log: Mapping[str, JsonValue]
    """Losses over the updates."""
    failure: str | None
    """Why the cell has no episodes (its training diverged, for instance); null where it has."""
    episodes: tuple[Episode, ...]
    """Every evaluation episode, in the order of the initial states."""
    stopped: str = Field(default="", exclude_if=lambda value: not value)
    """Why the evaluation ended before all planned episodes, in words of the schedule; left out where all were run."""
    checkpoints: tuple[CheckpointScore, ...] = ()
    """Intermediate evaluations for the legacy checkpoint rule."""
    timing: Mapping[str, float]
    """Seconds and rates, by name."""
    recorded_at: str
    """UTC time, ISO 8601."""
    migrated_from: str = Field(default="", exclude_if=lambda value: not value)
    """For a record of an earlier schema: that version and the digest it was sealed with."""
    digest: str = ""
    """Hash over all other fields but `timing` and `recorded_at`; a record edited by hand does not match it."""

    @property
    def has_failed(self) -> bool:
        """Whether there is no policy, or every episode was given up."""
        return self.failure is not None or all(episode.failure is not None for episode in self.episodes)

    def sealed(self) -> CellRecord:
        """The same record with its digest filled in."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """Hash over everything that must repeat."""
        return digest_of(self.model_dump(mode="json", exclude={"timing", "recorded_at", "digest"}))
