"""Configuration -> imaginations; pure, and checked whole before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pvrbench.benchmark.config import BenchmarkConfig, ConfigError
from pvrbench.benchmark.imagination.config import RANDOM_ACTIONS, SIMULATOR, ImaginationConfig
from pvrbench.benchmark.plan import Job, make_plan
from pvrbench.benchmark.records.imagination_schema import ImaginationKey, ImaginationSettings
from pvrbench.benchmark.records.keys import FROZEN, NOMINAL
from pvrbench.encoders.spec import EncoderSpec

ORACLE = "oracle"
# Settings that say which records there are, not what is in them.
AXES = ("models", "projections", "controls")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImaginationJob:
    """One model of one encoder on one task, or a control.

    Attributes:
        job: task, view and encoder, as a run has them; its cells only stand for them.
        key: what the record is found by.
        settings: what else determines the numbers.
        imagination: how models are trained, measured and planned with.
    """

    job: Job
    key: ImaginationKey
    settings: ImaginationSettings
    imagination: ImaginationConfig

    @property
    def name(self) -> str:
        """Place, encoder and model, for readers."""
        key = self.key
        projection = f" of a {key.projection} projection" if key.projection == "random" else ""
        return f"{key.task} ({key.camera}): {key.encoder}, {key.model}{projection}, seed {key.seed}"


@dataclass(frozen=True, slots=True)
class ImaginationPlan:
    """Everything that `pvrbench imagine` will do.

    Attributes:
        config: what was asked for.
        jobs: the work; those of one task and encoder are neighbours.
        notes: what was left out, and why.
    """

    config: BenchmarkConfig
    jobs: tuple[ImaginationJob, ...]
    notes: tuple[str, ...]


def make_imagination_plan(config: BenchmarkConfig) -> ImaginationPlan:
    """Expands a configuration into imaginations.

    Raises:
        UnknownNameError: a name is in no catalog.
        ConfigError: settings contradict one another, an encoder has no grid of features, or it trains with the policy.
    """
    group = config.imagination
    if group is None:
        raise ConfigError("imagination is missing. Take the settings from `pvrbench imagine` rather than an old file.")
    _check(group)
    named = [name for name in group.controls if name not in (SIMULATOR, RANDOM_ACTIONS)]
    bare = [name for name in group.controls if name in (SIMULATOR, RANDOM_ACTIONS)]
    needs_oracle = [ORACLE] if bare else []
    everyone = tuple(dict.fromkeys((*config.encoders, *named, *needs_oracle)))
    update = {"looks": (NOMINAL,), "encoders": everyone, "baselines": (), "readouts": ("mean",), "heads": ("mlp",)}
    update |= {"text_encoders": (), "wordings": ("trained",)}
    plan = make_plan(config.model_copy(update=update))
    wanted = {*config.encoders, *named}
    jobs: list[ImaginationJob] = []
    for job in plan.jobs:
        if job.adaptation.name != FROZEN:
            raise ConfigError("Models of the future are trained on frozen features. Leave adaptations out.")
        if job.encoder.name in wanted or job.encoder.name not in everyone:
            _check_encoder(job.encoder)
            jobs += _of_encoder(job, config, group)
        if job.encoder.name == ORACLE:
            jobs += [_job(job, config, group, name, "", seed) for name in bare for seed in _seeds(config)]
    return ImaginationPlan(config, tuple(jobs), tuple(note for note in plan.notes if "weights are not" in note))


def _seeds(config: BenchmarkConfig) -> Iterator[int]:
    return iter(dict.fromkeys(config.seeds))


def _of_encoder(job: Job, config: BenchmarkConfig, group: ImaginationConfig) -> Iterator[ImaginationJob]:
    for model in group.models:
        # States are not reduced.
        for projection in group.projections if job.encoder.modality == "image" else ("",):
            for seed in _seeds(config):
                yield _job(job, config, group, model, projection, seed)


def _job(
    job: Job, config: BenchmarkConfig, group: ImaginationConfig, model: str, projection: str, seed: int
) -> ImaginationJob:
    key = ImaginationKey(
        task=job.task.name,
        camera=job.cells[0].camera,
        encoder=job.encoder.name,
        model=model,
        projection=projection,
        seed=seed,
    )
    settings = ImaginationSettings(
        render=config.render,
        image_px=config.image_px,
        preprocessing=config.preprocessing,
        precision=config.engine.precision,
        imagination=group.model_dump(mode="json", exclude={*AXES}),
    )
    return ImaginationJob(job=job, key=key, settings=settings, imagination=group)


def _check(group: ImaginationConfig) -> None:
    """Refuses settings that contradict one another.

    Raises:
        ConfigError: they do.
    """
    blocks, history = group.num_blocks, group.history
    longest = blocks - history + 1
    for name in ("error_horizon", "horizon", "rollout"):
        if getattr(group, name) > longest:
            raise ConfigError(
                f"imagination.{name}={getattr(group, name)} is longer than the trajectories allow: they are {blocks} "
                f"blocks long, and {history} frames are seen first. Set at most {longest}, or a larger "
                "imagination.num_blocks."
            )
    if group.executed > group.horizon:
        raise ConfigError(
            f"imagination.executed={group.executed} is longer than a plan of imagination.horizon={group.horizon} "
            "blocks. Execute fewer blocks of it."
        )
    if group.width % group.num_heads:
        raise ConfigError(
            f"imagination.width={group.width} is no multiple of imagination.num_heads={group.num_heads}. Choose others."
        )


def _check_encoder(encoder: EncoderSpec) -> None:
    if encoder.modality == "expert":
        raise ConfigError(f"{encoder.name} is no encoder, so there is nothing to imagine. Leave it out.")
    if encoder.modality == "image" and not encoder.grid_side:
        raise ConfigError(
            f"Encoder {encoder.name!r} gives no grid of features, and models of the future are trained on one. "
            "Leave it out, or name an encoder with a grid; `pvrbench list encoders` shows which have one."
        )
