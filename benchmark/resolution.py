"""Names and options of a configuration -> what they stand for: rows of the catalogs with the options of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from pvrbench.benchmark.catalog import adaptations, heads, looks
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError
from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.benchmark.records.schema import Settings
from pvrbench.common.options import OptionError
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.looks import LOOK_SETS, expand_looks
from pvrbench.envs.spec import DemoEnd, Look, TaskSpec
from pvrbench.policies.spec import HeadOptionError, HeadSpec


def with_end(task: TaskSpec, config: BenchmarkConfig) -> TaskSpec:
    """The task with the end of its demonstrations; those that go on to the horizon go on to that of the run."""
    end = DemoEnd.parse(config.demo_end)
    horizon = horizon_of(task, config) if end.rule == "full_horizon" else task.horizon
    return replace(task, demo_end=end, horizon=horizon)


def adapted_by(config: BenchmarkConfig, trained: BenchmarkConfig) -> list[AdaptationSpec]:
    """The adaptations with their options.

    Raises:
        ConfigError: an option is not valid, or other settings do not go with the training of an encoder.
    """
    known = (*config.adaptations, *trained.adaptations)
    unused = [name for name in config.adaptation_options if name not in known]
    if unused:
        raise ConfigError(
            f"adaptation_options.{unused[0]} is not among adaptations=[{','.join(config.adaptations)}]. "
            "Add it there, or leave it out."
        )
    try:
        found = [
            adaptations()[name].with_options(trained.adaptation_options.get(name, {}))
            for name in dict.fromkeys(config.adaptations)
        ]
    except OptionError as error:
        raise ConfigError(f"adaptation_options: {error}") from error
    for spec in found:
        if not spec.keeps_features and (trained.fusion != "none" or trained.engine.precision != "float32"):
            key = "fusion=" + trained.fusion if trained.fusion != "none" else "engine.precision=bfloat16"
            raise ConfigError(
                f"Adaptation {spec.name!r} trains the encoder, which does not go with {key}. Leave that setting at its "
                "default, or use adaptations=[frozen]."
            )
    return found


def looks_of(config: BenchmarkConfig) -> dict[str, bool]:
    """The looks of a run in their shortest form, and whether a run names them itself; those of a set it does not.

    The nominal one comes first: what is said of another is said against it.

    Raises:
        ConfigError: one is not there, or written in another way.
    """
    named = [look_named(name) for name in config.looks if name not in LOOK_SETS]
    found = [look_named(name) for name in expand_looks(config.looks)]
    return {look: look in named for look in dict.fromkeys([NOMINAL, *found])}


def train_looks_of(config: BenchmarkConfig) -> tuple[str, ...]:
    """The looks of the demonstrations in their shortest form, in the order in which they take turns.

    Raises:
        ConfigError: one is not there, or written in another way.
    """
    return tuple(look_named(name, "train_looks") for name in expand_looks(config.train_looks))


def look_named(text: str, key: str = "looks") -> str:
    """A look's name in its shortest form, once its axis and level are known to be there.

    Raises:
        ConfigError: they are not, or the name is written in another way.
    """
    try:
        look = Look.parse(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
    if look.level > 0:
        row = looks()[look.axis]
        if look.level > row.num_levels:
            raise ConfigError(
                f"{key}: {text!r} asks for level {look.level} of {look.axis}, which has {row.num_levels}."
            )
    return str(look)


def with_preprocessing(spec: EncoderSpec, config: BenchmarkConfig) -> EncoderSpec:
    """The encoder with the preprocessing of the run; it enters its digest, and so the key of the feature cache."""
    if config.preprocessing != "official" or spec.modality != "image" or spec.image_size == 0:
        return spec
    return replace(spec, options={**spec.options, "preprocessing": "official"})


def head_named(config: BenchmarkConfig, name: str) -> HeadSpec:
    """A head of the catalog or a variant of one, with the options of the run."""
    variant = config.head_variants.get(name)
    catalog_name = name if variant is None else variant.head
    spec = _with_options(replace(heads()[catalog_name], name=name), config.head_options, "head_options")
    if variant is None:
        return spec
    varied = _with_options(spec, variant.options, f"head_variants.{name}.options")
    if varied == spec and config.train_of(name) == config.train:
        raise ConfigError(f"head_variants.{name} differs from {variant.head} in nothing. Give other options or train.")
    return varied


def _with_options(spec: HeadSpec, options: Mapping[str, JsonValue], key: str) -> HeadSpec:
    try:
        return spec.with_options(options)
    except HeadOptionError as error:
        raise ConfigError(f"{key}: {error}") from error


def horizon_of(task: TaskSpec, config: BenchmarkConfig) -> int:
    """Control steps of an episode: those of the run, or the task's own."""
    return task.horizon if config.horizon is None else config.horizon


def cameras_of(config: BenchmarkConfig, task: TaskSpec) -> tuple[str, ...]:
    """The cameras of a task that a run asks for, each once.

    Raises:
        ConfigError: the task has no camera of that name.
    """
    cameras = tuple(dict.fromkeys(task.cameras[0] if name == "default" else name for name in config.cameras))
    for camera in cameras:
        if camera not in task.cameras:
            raise ConfigError(
                f"Task {task.name!r} has no camera {camera!r}. It has {', '.join(task.cameras)}; "
                "`default` takes the first."
            )
    return cameras


def settings_of(config: BenchmarkConfig, trained: BenchmarkConfig, task: TaskSpec, head: HeadSpec) -> Settings:
    """How a policy was trained, by `trained`, and is evaluated, by `config`."""
    return Settings(
        preset=config.preset,
        render=config.render,
        image_px=config.image_px,
        trained_render=trained.render if trained.render != config.render else "",
        trained_image_px=trained.image_px if trained.image_px != config.image_px else 0,
        preprocessing=trained.preprocessing,
        num_episodes=config.num_episodes,
        episode_schedule=config.episode_schedule,
        horizon=horizon_of(task, config),
        success_rule=config.success_rule,
        demo_pool=trained.demo_pool,
        demo_end=trained.demo_end,
        train_looks=train_looks_of(trained),
        history=trained.history,
        fusion=trained.fusion,
        budget_dim=trained.budget_dim,
        precision=trained.engine.precision,
        variant_of=trained.head_variants[head.name].head if head.name in trained.head_variants else "",
        head_options=head.options.model_dump(mode="json"),
        train=trained.train_of(head.name).model_dump(),
        deviations=config.deviations,
    )
