"""The typed, frozen configuration of a run. Defaults live in `benchmark/conf`, limits live here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from pvrbench.benchmark.limits import MAX_BATCH, MAX_STEPS, MAX_UPDATES, MAX_WIDTH, Positive, Real, Whole
from pvrbench.benchmark.records.schema import Deviation, Precision
from pvrbench.envs.catalog import TASK_SETS
from pvrbench.envs.spec import MAX_STATES, DemoEnd
from pvrbench.policies.spec import Regularisation, TrainSettings

# Overrides of these are other protocols, of those others choices among its cells; the rest is no matter of numbers.
PROTOCOL_KEYS = (
    *(
        "render",
        "image_px",
        "preprocessing",
        "split",
        "num_episodes",
        "horizon",
        "success_rule",
        "demo_pool",
        "demo_end",
    ),
    *("history", "fusion", "budget_dim", "head_options", "train", "engine.precision"),
)
AXES = ("tasks", "cameras", "looks", "adaptations", "readouts", "heads")


# pydantic's text for a field that is not there; what it gives as input then is all that is.
MISSING = "Field required"


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the key, what was given and what is expected."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str | int) else value


def _demo_end(value: str) -> str:
    return str(DemoEnd.parse(value))


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EngineConfig(_Frozen):
    """How a run uses the machine; nothing but `precision` may change an episode's outcome.

    Attributes:
        device: `auto`, `cpu` or a CUDA device.
        num_workers: simulator processes; 0 takes one for each core, fewer where memory is short.
        envs_per_worker: environments in each of them; 0 chooses two tiles' worth in all and another for every two
            processes, one less where memory is short, two tiles' worth beside a GPU.
        tile: frames in one encoder call; every call is padded to it. It enters the last bits of the
            features, so it is recorded with them. 0 takes 8 on a processor, 32 on a GPU.
        precision: numbers that the encoder computes with. `bfloat16` is faster where the hardware multiplies it and
            changes features in the third digit, so it is recorded with them and never chosen by itself.
        hang_s: seconds after which a silent simulator process is taken to hang.
        executor: where jobs run; `local` is this machine.
        keep_policies: keep every trained policy under the run, so that `pvrbench evaluate` can try it elsewhere.
        videos: write the videos of two initial states for each task, encoder and readout.
        cache_dir: demonstrations, frames and features; null takes `PVRBENCH_CACHE` or `~/.cache/pvrbench`.
        cache_gib: size above which the feature cache drops what was used longest ago.
    """

    device: str
    num_workers: Annotated[Whole, Field(le=4096)]
    envs_per_worker: Annotated[Whole, Field(le=4096)]
    tile: Annotated[Whole, Field(le=1024)]
    precision: Precision
    hang_s: Annotated[Real, Field(gt=0, le=1e6)]
    executor: str = "local"
    keep_policies: bool = True
    videos: bool
    cache_dir: str | None
    cache_gib: Annotated[Real, Field(gt=0)]


class TrainConfig(_Frozen):
    """Optimisation of the heads, see `TrainSettings` and `Regularisation` in `pvrbench.policies.spec`."""

    num_updates: Annotated[Positive, Field(le=MAX_UPDATES)]
    batch_size: Annotated[Positive, Field(le=MAX_BATCH)]
    learning_rate: Annotated[Real, Field(gt=0)]
    weight_decay: Real
    optimizer: Literal["adam", "adamw"]
    schedule: Literal["constant", "cosine"]
    input_norm: Literal["batch", "standard", "global", "none"]
    action_norm: Literal["standard", "none"]
    dropout: Annotated[Real, Field(lt=1)]
    use_proprio: bool

    def settings(self) -> TrainSettings:
        """What heads that are trained together have in common, as the policies take it."""
        return TrainSettings(**self.model_dump(exclude={*Regularisation.__dataclass_fields__}))

    def regularisation(self) -> Regularisation:
        """What each of them has of its own."""
        return Regularisation(dropout=self.dropout, weight_decay=self.weight_decay)


class HeadVariant(_Frozen):
    """A head of the catalog with other options or trained otherwise; its name goes beside others into `heads`.

    Attributes:
        head: name in the catalog.
        options: options of the head that differ from the run's.
        train: settings of `train` that differ from the run's. Heads that differ in `dropout` and `weight_decay` alone
            are trained together.
    """

    head: str
    options: Mapping[str, JsonValue] = {}
    train: Mapping[str, JsonValue] = {}

    @property
    def text(self) -> str:
        """`mlp with dropout=0.1`."""
        changes = ", ".join(f"{key}={value}" for key, value in {**self.options, **self.train}.items())
        return f"{self.head} with {changes}"


class BenchmarkConfig(_Frozen):
    """One run: the axes of the cells, the protocol and the engine.

    Attributes:
        preset: name of the protocol.
        name: name of the run; null takes the preset's.
        run_dir: where the run is written; null takes `results/runs/<name>`.
        tasks: task names or task sets.
        cameras: cameras of the tasks; `default` is each task's first.
        encoders: catalog names, plugin names or `module:attribute` references. One that ends with `?` is left out where
            its weights are not on this machine.
        baselines: further encoders that every ranking of the preset shows; none twice.
        adaptations: what happens to the encoders besides being read; `frozen` leaves them as they are.
        looks: how the scene looks in the rollouts; `nominal` is the simulator's own look. Demonstrations are always
            nominal.
        readouts: readouts; those that an encoder has no features for are left out for it.
        heads: behaviour-cloning heads, of the catalog or of `head_variants`.
        num_demos: numbers of demonstrations.
        seeds: one policy is trained for each.
        num_episodes: held-out initial states on which each policy is evaluated.
        split: `test`, or `selection` for choosing settings.
        episode_schedule: which episodes are run; `fixed` runs all that are planned.
        demo_pool: demonstrations collected for each task; a seed draws nested subsets from them.
        demo_end: where demonstrations end: `first_success`, `hold_<steps>` or `full_horizon`.
        render: `full` or `lean`.
        image_px: side of the rendered image.
        preprocessing: `full_frame` shows every encoder the whole image at its input size; `official` crops the centre
            as the evaluation of its authors does.
        horizon: control steps; null takes each task's own.
        success_rule: `any_step` or `last_step`.
        history: frames given to the head.
        fusion: `none`, `concat` or `flare`.
        budget_dim: common feature width, null for none.
        head_options: options handed to every head.
        head_variants: heads of this run by a name of its own: what each differs in; none where it is left out, as
            configurations of earlier versions do.
        train: optimiser settings.
        checkpoint_evaluations: intermediate evaluations for the legacy maximum; 0 for none.
        deviations: departures from the published protocol, and of the overrides from the preset.
        engine: use of the machine.
    """

    preset: str
    name: str | None
    run_dir: str | None
    tasks: Names
    cameras: Names
    encoders: Names
    baselines: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
    adaptations: Names = ("frozen",)
    looks: Names = ("nominal",)
    readouts: Names
    heads: Names
    num_demos: Annotated[tuple[Positive, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[Whole, Field(lt=2**63)], ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    num_episodes: Annotated[Positive, Field(le=MAX_STATES)]
    split: Literal["selection", "test"]
    episode_schedule: str = "fixed"
    demo_pool: Annotated[Positive, Field(le=MAX_STATES)]
    demo_end: Annotated[str, AfterValidator(_demo_end)] = "first_success"
    render: Literal["full", "lean"]
    image_px: Annotated[Positive, Field(ge=16, le=1024)]
    preprocessing: Literal["full_frame", "official"]
    horizon: Annotated[Positive, Field(le=MAX_STEPS)] | None
    success_rule: Literal["any_step", "last_step"]
    history: Annotated[Positive, Field(le=1024)]
    fusion: Literal["none", "concat", "flare"]
    budget_dim: Annotated[Positive, Field(le=MAX_WIDTH)] | None
    head_options: Mapping[str, JsonValue]
    head_variants: Mapping[str, HeadVariant] = {}
    train: TrainConfig
    checkpoint_evaluations: Whole
    deviations: tuple[Deviation, ...]
    engine: EngineConfig

    @property
    def output_dir(self) -> Path:
        """Where the run is written: `run_dir`, or `results/runs/<name>`."""
        if self.run_dir is not None:
            return Path(self.run_dir).expanduser()
        return Path("results") / "runs" / (self.name or self.preset)

    def told_head(self, name: str) -> str:
        """A head's name for readers: with what it differs in, where it is a variant."""
        variant = self.head_variants.get(name)
        return name if variant is None else f"{name} ({variant.text})"

    def train_of(self, head: str) -> TrainConfig:
        """How a head is trained, by its name in `heads`."""
        variant = self.head_variants.get(head)
        return (
            self.train if variant is None else TrainConfig.model_validate({**self.train.model_dump(), **variant.train})
        )


def validate_config(values: Mapping[str, object]) -> BenchmarkConfig:
    """Checks composed values once.

    Raises:
        ConfigError: a value is missing, of the wrong type or outside its limits.
    """
    try:
        config = BenchmarkConfig.model_validate(values)
    except ValidationError as error:
        lines = (_complaint(detail["loc"], detail["msg"], detail.get("input")) for detail in error.errors())
        raise ConfigError("; ".join(lines)) from error
    too_many = [number for number in config.num_demos if number > config.demo_pool]
    if too_many:
        raise ConfigError(
            f"num_demos={max(too_many)} is more than the {config.demo_pool} demonstrations of the pool. "
            f"Ask for fewer, or collect more with demo_pool={max(too_many)}."
        )
    _check_variants(config)
    shortest = min(config.heads, key=lambda name: config.train_of(name).num_updates)
    evaluations, updates = config.checkpoint_evaluations, config.train_of(shortest).num_updates
    if evaluations > updates:
        where = f"head_variants.{shortest}.train" if shortest in config.head_variants else "train"
        raise ConfigError(
            f"checkpoint_evaluations={evaluations} is more than {where}.num_updates={updates}, and each evaluates the "
            f"parameters after another update. Ask for at most {updates}, or train longer."
        )
    if (config.history > 1) != (config.fusion != "none"):
        raise ConfigError(
            f"history={config.history} and fusion={config.fusion} do not go together. "
            "Several frames need fusion=concat or fusion=flare; one frame needs fusion=none."
        )
    return config


def read_config(run_dir: Path) -> BenchmarkConfig:
    """The configuration that a run was last started with.

    Raises:
        ConfigError: there is none, or this program does not understand it.
    """
    path = run_dir / "config.json"
    try:
        return validate_config(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give the folder of a run.") from error
    except (json.JSONDecodeError, ConfigError) as error:
        raise ConfigError(f"{path} is no configuration of this program: {error}") from error


def _check_variants(config: BenchmarkConfig) -> None:
    unused = [name for name in config.head_variants if name not in config.heads]
    if unused:
        raise ConfigError(
            f"head_variants.{unused[0]} is not among heads=[{','.join(config.heads)}]. Add it there, or leave it out."
        )
    for name in config.head_variants:
        try:
            config.train_of(name)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                _complaint(("head_variants", name, "train", *first["loc"]), first["msg"], first.get("input"))
            ) from error


def departures(preset: BenchmarkConfig, given: BenchmarkConfig) -> tuple[Deviation, ...]:
    """Where overrides leave the protocol of their preset: settings that differ, and tasks, heads, ... that it lacks.

    Fewer tasks, heads, seeds or demonstrations than the preset's, and other encoders, leave every cell what it is.
    """
    found: list[Deviation] = []
    before, after = _flat(preset), _flat(given)
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            # More or fewer episodes make an interval narrower or wider about the same rate.
            effect = "none" if key == "num_episodes" else "unknown"
            here, there = (str(values.get(key, "the head's own")) for values in (after, before))
            found.append(Deviation(of=key, here=here, original=there, effect=effect, override=True))
    for axis in AXES:
        own = _expanded(getattr(preset, axis))
        further = [name for name in _expanded(getattr(given, axis)) if name not in own]
        if further:
            told = given.told_head if axis == "heads" else str
            here, there = ", ".join(told(name) for name in further), ", ".join(own)
            found.append(Deviation(of=axis, here=here, original=there, effect="unknown", override=True))
    return tuple(found)


def _flat(config: BenchmarkConfig) -> dict[str, object]:
    """The protocol's settings by key, those of groups as `group.key`."""
    flat: dict[str, object] = {}
    values = config.model_dump()
    for key in PROTOCOL_KEYS:
        group, _, name = key.rpartition(".")
        value = (values[group] if group else values)[name]
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, object]", value)
            flat |= {f"{key}.{name}": each for name, each in inner.items()}
        else:
            flat[key] = value
    return flat


def _expanded(names: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(member for name in names for member in TASK_SETS.get(name, (name,))))


def _complaint(loc: tuple[int | str, ...], message: str, given: object) -> str:
    where = ".".join(str(part) for part in loc)
    if message == MISSING:
        return f"{where} is missing"
    if message.startswith("Value should have at least 1 item"):
        message = "give at least one"
    message = re.sub(r"dictionary( or instance of \w+)?$", "table, such as {key:value}", message)
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return f"{where}={given!r} is not valid: {message[0].lower()}{message[1:]}"
