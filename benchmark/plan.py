"""Configuration -> cells, grouped by what they share; pure, and checked whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic import JsonValue, PositiveFloat, StrictBool, TypeAdapter, ValidationError

from pvrbench.benchmark.catalog import encoders, expand_tasks, heads, readouts, tasks, unknown
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError, Positive
from pvrbench.benchmark.records.schema import Cell, Settings
from pvrbench.encoders.readouts.catalog import ReadoutSpec, applies
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.statement import is_uri, preprocessing_of
from pvrbench.envs.spec import TaskSpec, View
from pvrbench.policies.spec import HeadSpec

# What an option of a head may be: by its name, else by the type of the catalog's value; the first that fits.
CHOICES: Mapping[str, Any] = {
    "activation": Literal["relu", "tanh"],
    "act_rule": Literal["likeliest_mode", "sampled_mode"],
}
OPTION_KINDS: Sequence[tuple[type | tuple[type, ...], Any]] = (
    (bool, StrictBool),
    (int, Positive),
    (float, PositiveFloat),
    ((tuple, list), tuple[Positive, ...]),
)


@dataclass(frozen=True, slots=True)
class CellGroup:
    """The cells that share task, camera and encoder: they share demonstrations, features and rollouts.

    Attributes:
        task: the task.
        horizon: control steps of an evaluation episode; demonstrations keep the task's own.
        view: how its images are made; None where the encoder sees none.
        camera: the camera of the cells, whether or not it is looked through.
        encoder: the encoder.
        settings: protocol of each cell, by head name.
        cells: the cells, sorted by readout, head, number of demonstrations and seed.
    """

    task: TaskSpec
    horizon: int
    view: View | None
    camera: str
    encoder: EncoderSpec
    settings: Mapping[str, Settings]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run will do.

    Attributes:
        config: what was asked for.
        groups: the work, one encoder on one task each; groups of one task and view are neighbours.
        readouts: specs of the readouts in use, by name.
        heads: specs of the heads in use, by name.
        notes: what was left out or replaced, and why; shown to the user.
    """

    config: BenchmarkConfig
    groups: tuple[CellGroup, ...]
    readouts: Mapping[str, ReadoutSpec]
    heads: Mapping[str, HeadSpec]
    notes: tuple[str, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order of the groups."""
        return tuple(cell for group in self.groups for cell in group.cells)


def make_plan(config: BenchmarkConfig) -> Plan:
    """Expands a configuration into cell groups.

    Raises:
        UnknownNameError: an encoder, task, head or readout is in no catalog.
        ConfigError: a camera or a combination is not to be had, or a head's variant bears a name of the catalog.
    """
    for name in {*heads()} & {*config.head_variants}:
        raise ConfigError(f"head_variants.{name} bears the name of a head of the catalog. Give it a name of its own.")
    task_specs = [tasks()[name] for name in expand_tasks(config.tasks)]
    # By the name of the row: two names may stand for one.
    named = {spec.name: spec for spec in (encoders()[name] for name in (*config.encoders, *config.baselines))}
    encoder_specs = [_shown(spec, config) for spec in named.values()]
    readout_specs = {name: readouts()[name] for name in dict.fromkeys(config.readouts)}
    head_specs = {name: _head(config, name) for name in dict.fromkeys(config.heads)}
    notes: list[str] = []
    uncropped = [spec.name for spec in encoder_specs if spec.modality == "image" and spec.image_size == 0]
    if config.preprocessing == "official" and uncropped:
        notes.append(f"{', '.join(uncropped)} see the whole frame: no preprocessing is published for them.")
    notes += [
        f"{spec.name} takes images {preprocessing_of(spec)}; mean=, std=, interpolation=, key= in its URI set that."
        for spec in encoder_specs
        if is_uri(spec)
    ]
    notes += [
        f"The expert of {task.name} solves {100 * task.expert_success:.0f} % of starts; only solved ones demonstrate."
        for task in task_specs
        if task.expert_success is not None
    ]
    chosen = {spec.name: _readouts_for(spec, readout_specs, notes) for spec in encoder_specs}
    groups: list[CellGroup] = []
    for task in task_specs:
        settings = {name: _settings(config, task, head) for name, head in head_specs.items()}
        for camera in _cameras(config, task):
            # Groups that look through the camera come first, those that render nothing last, so that
            # one set of environments serves neighbours.
            for spec in sorted(encoder_specs, key=lambda spec: spec.modality != "image"):
                if spec.modality == "state" and task.state_dim == 0:
                    if spec.name not in config.encoders:
                        # A baseline of the preset that this task cannot have is no reason to refuse the task.
                        notes.append(f"{task.name} offers no simulator state; {spec.name} is left out there.")
                        continue
                    raise ConfigError(
                        f"Encoder {spec.name!r} reads the simulator's state, and task {task.name!r} offers none. "
                        "Leave the one or the other out."
                    )
                view = View(camera=camera, image_px=config.image_px, render=config.render)
                cells = tuple(
                    Cell(
                        task=task.name,
                        camera=camera,
                        encoder=spec.name,
                        readout=readout,
                        head=head,
                        num_demos=num_demos,
                        seed=seed,
                    )
                    for readout in chosen[spec.name]
                    for head in head_specs
                    for num_demos in sorted(set(config.num_demos))
                    for seed in dict.fromkeys(config.seeds)
                )
                seen = view if spec.modality == "image" else None
                groups.append(
                    CellGroup(
                        task=task,
                        horizon=_horizon(task, config),
                        view=seen,
                        camera=camera,
                        encoder=spec,
                        settings=settings,
                        cells=cells,
                    )
                )
    used = {name for names in chosen.values() for name in names}
    return Plan(
        config=config,
        groups=tuple(groups),
        readouts={name: readouts()[name] for name in sorted(used)},
        heads=head_specs,
        notes=tuple(notes),
    )


def _shown(spec: EncoderSpec, config: BenchmarkConfig) -> EncoderSpec:
    """The encoder with the preprocessing of the run; it enters its digest, and so the key of the feature cache."""
    if config.preprocessing != "official" or spec.modality != "image" or spec.image_size == 0:
        return spec
    return replace(spec, options={**spec.options, "preprocessing": "official"})


def _head(config: BenchmarkConfig, name: str) -> HeadSpec:
    """A head of the catalog or a variant of one, with the options of the run."""
    variant = config.head_variants.get(name)
    if variant is None:
        return _with_options(replace(heads()[name], name=name), config.head_options, "head_options")
    base = _with_options(replace(heads()[variant.head], name=name), config.head_options, "head_options")
    spec = _with_options(base, variant.options, f"head_variants.{name}.options")
    if spec == base and config.train_of(name) == config.train:
        raise ConfigError(f"head_variants.{name} differs from {variant.head} in nothing. Give other options or train.")
    return spec


def _with_options(spec: HeadSpec, options: Mapping[str, JsonValue], key: str) -> HeadSpec:
    """The head with other options, each of the type that the catalog's has; `key` is where they were given."""
    taken: dict[str, object] = {}
    for option, value in options.items():
        if option not in spec.options:
            raise ConfigError(unknown(f"option of head {spec.name!r}:", option, spec.options))
        default = spec.options[option]
        kind = CHOICES.get(option) or next((kind for of, kind in OPTION_KINDS if isinstance(default, of)), None)
        try:
            taken[option] = value if kind is None else TypeAdapter[Any](kind).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ConfigError(f"{key}.{option}={value!r} is not valid: {reason[0].lower()}{reason[1:]}") from error
    return replace(spec, options={**spec.options, **taken})


def _horizon(task: TaskSpec, config: BenchmarkConfig) -> int:
    return task.horizon if config.horizon is None else config.horizon


def _readouts_for(encoder: EncoderSpec, asked: Mapping[str, ReadoutSpec], notes: list[str]) -> tuple[str, ...]:
    fitting = tuple(name for name, readout in asked.items() if applies(readout, encoder))
    left_out = [name for name in asked if name not in fitting]
    if not fitting:
        fitting = (encoder.default_readout,)
        if encoder.modality == "image":
            notes.append(
                f"{encoder.name} has no features for {', '.join(left_out)}; {encoder.default_readout} is used."
            )
    elif left_out and encoder.modality == "image":
        notes.append(f"{encoder.name} has no features for {', '.join(left_out)}; left out.")
    return fitting


def _cameras(config: BenchmarkConfig, task: TaskSpec) -> tuple[str, ...]:
    cameras = tuple(dict.fromkeys(task.cameras[0] if name == "default" else name for name in config.cameras))
    for camera in cameras:
        if camera not in task.cameras:
            raise ConfigError(
                f"Task {task.name!r} has no camera {camera!r}. It has {', '.join(task.cameras)}; "
                "`default` takes the first."
            )
    return cameras


def _settings(config: BenchmarkConfig, task: TaskSpec, head: HeadSpec) -> Settings:
    return Settings(
        preset=config.preset,
        render=config.render,
        image_px=config.image_px,
        preprocessing=config.preprocessing,
        split=config.split,
        num_episodes=config.num_episodes,
        horizon=_horizon(task, config),
        success_rule=config.success_rule,
        demo_pool=config.demo_pool,
        history=config.history,
        fusion=config.fusion,
        budget_dim=config.budget_dim,
        precision=config.engine.precision,
        variant_of=config.head_variants[head.name].head if head.name in config.head_variants else "",
        head_options=head_options(head),
        train=config.train_of(head.name).model_dump(),
        deviations=config.deviations,
    )


def head_options(head: HeadSpec) -> dict[str, JsonValue]:
    """The head's own options as JSON values."""
    options = cast("Mapping[str, JsonValue | tuple[JsonValue, ...]]", head.options)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
