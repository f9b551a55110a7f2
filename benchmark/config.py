"""The typed, frozen configuration of a run. Defaults live in `benchmark/conf`, limits live here."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationError

from pvrbench.benchmark.cluster import ClusterConfig
from pvrbench.benchmark.imagination.config import ImaginationConfig
from pvrbench.benchmark.limits import (
    MAX_BATCH,
    MAX_STEPS,
    MAX_UPDATES,
    MAX_WIDTH,
    DeviceName,
    Positive,
    Real,
    RunName,
    Whole,
)
from pvrbench.benchmark.records.keys import NOMINAL, Frozen
from pvrbench.benchmark.records.schema import Deviation, Precision
from pvrbench.envs.spec import MAX_STATES, DemoEnd
from pvrbench.policies.spec import Regularisation, TrainSettings

# The settings that name what cells are made of, beside encoders, numbers of demonstrations and seeds.
AXES = (
    *("tasks", "cameras", "looks", "adaptations", "readouts", "heads"),
    *("text_encoders", "conditionings", "wordings"),
)

Conditioning = Literal["concat", "film"]

# pydantic's text for a field that is not there; what it gives as input then is all that is.
MISSING = "Field required"


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the key, what was given and what is expected."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str | int) else value


def _demo_end(value: str) -> str:
    return str(DemoEnd.parse(value))


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class EngineConfig(Frozen):
    """How a run uses the machine; nothing but `precision` may change an episode's outcome."""

    device: DeviceName
    """`auto`, `cpu` or a CUDA device."""
    num_workers: Annotated[Whole, Field(le=4096)]
    """Simulator processes; 0 takes one for each core, fewer where memory is short."""
    envs_per_worker: Annotated[Whole, Field(le=4096)]
    """Environments in each of them; 0 chooses two tiles' worth in all and another for every two processes, one less
    where memory is short, two tiles' worth beside a GPU."""
    tile: Annotated[Whole, Field(le=1024)]
    """Frames in one encoder call; every call is padded to it. It enters the last bits of the features, so it is
    recorded with them. 0 takes 8 on a processor, 32 on a GPU."""
    precision: Precision
    """Numbers that the encoder computes with. `bfloat16` is faster where the hardware multiplies it and changes
    features in the third digit, so it is recorded with them and never chosen by itself."""
    hang_s: Annotated[Real, Field(gt=0, le=1e6)]
    """Seconds after which a silent simulator process is taken to hang."""
    executor: str = "local"
    """Where jobs run; `local` is this machine."""
    keep_policies: bool = True
    """Keep every trained policy under the run, so that `pvrbench evaluate` can try it elsewhere."""
    retry_failed: bool = False
    """Run cells that are recorded as failed again; their records are moved to `failed/` in the folder of the run."""
    videos: bool
    """Write the videos of two initial states for each task, encoder and readout."""
    cache_dir: str | None
    """Demonstrations, frames and features; null takes `PVRBENCH_CACHE` or `~/.cache/pvrbench`."""
    cache_gib: Annotated[Real, Field(gt=0)]
    """Size above which the feature cache drops what was used longest ago."""


class TrainConfig(Frozen):
    """Optimisation of the heads, see `TrainSettings` and `Regularisation` in `pvrbench.policies.spec`."""

    num_updates: Annotated[Positive, Field(le=MAX_UPDATES)]
    """Gradient steps; the parameters after the last one are evaluated."""
    batch_size: Annotated[Positive, Field(le=MAX_BATCH)]
    """Transitions in a step, drawn uniformly with replacement."""
    learning_rate: Annotated[Real, Field(gt=0)]
    """Learning rate, the peak where there is a schedule."""
    weight_decay: Real
    """Weight decay: decoupled under `adamw`, an L2 penalty under `adam`."""
    optimizer: Literal["adam", "adamw"]
    """Optimiser."""
    schedule: Literal["constant", "cosine"]
    """Learning-rate schedule over the updates."""
    input_norm: Literal["batch", "standard", "global", "none"]
    """Normalisation of the inputs: BatchNorm, by dimension, one scale for all feature dimensions, or none."""
    action_norm: Literal["standard", "none"]
    """Scale actions by the training demonstrations, or leave them."""
    dropout: Annotated[Real, Field(lt=1)]
    """Probability with which a hidden unit is left out of an update."""
    use_proprio: bool
    """Append proprioception to the readout."""

    def settings(self) -> TrainSettings:
        """What heads that are trained together have in common, as the policies take it."""
        return TrainSettings(**self.model_dump(exclude={*Regularisation.__dataclass_fields__}))

    def regularisation(self) -> Regularisation:
        """What each of them has of its own."""
        return Regularisation(dropout=self.dropout, weight_decay=self.weight_decay)


class HeadVariant(Frozen):
    """A head of the catalog with other options or trained otherwise; its name goes beside others into `heads`."""

    head: str
    """Name in the catalog."""
    options: Mapping[str, JsonValue] = {}
    """Options of the head that differ from the run's."""
    train: Mapping[str, JsonValue] = {}
    """Settings of `train` that differ from the run's. Heads that differ in `dropout` and `weight_decay` alone are
    trained together."""

    @property
    def text(self) -> str:
        """`mlp with dropout=0.1`."""
        changes = ", ".join(f"{key}={value}" for key, value in {**self.options, **self.train}.items())
        return f"{self.head} with {changes}"


class BenchmarkConfig(Frozen):
    """One run: the axes of the cells, the protocol and the engine."""

    preset: str
    """Name of the protocol."""
    name: RunName | None
    """Name of the run, a folder in `results/runs`; null takes the preset's."""
    run_dir: Annotated[str, Field(min_length=1)] | None
    """Where the run is written; null takes `results/runs/<name>`."""
    tasks: Names
    """Task names or task sets."""
    cameras: Names
    """Cameras of the tasks; `default` is each task's first."""
    encoders: Names
    """Catalog names, plugin names or `module:attribute` references. One that ends with `?` is left out where its
    weights are not on this machine."""
    baselines: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
    """Further encoders that every ranking of the preset shows; none twice."""
    adaptations: Names = ("frozen",)
    """What happens to the encoders besides being read; `frozen` leaves them as they are."""
    adaptation_options: Mapping[str, Mapping[str, JsonValue]] = {}
    """For each adaptation, by its name, its options that differ from the catalog's."""
    train_looks: Names = (NOMINAL,)
    """How the scene looks in the demonstrations. Several looks take turns: of k looks, demonstration i of the pool has
    the one at position i modulo k. Where it is not `nominal` alone, `looks` has to be given too."""
    looks: Names = (NOMINAL,)
    """How the scene looks in the rollouts: looks such as `light/darker@2`, or sets such as `burns`. `nominal`, the
    simulator's own look, is always evaluated as well."""
    text_encoders: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """How instructions are embedded. With any, one policy learns all tasks of the run and is told which one is meant;
    with none, each task has a policy of its own."""
    conditionings: Annotated[tuple[Conditioning, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = ("concat",)
    """How the embedding enters: `concat` beside the readout, or `film`, which scales and shifts the readout."""
    wordings: Names = ("trained",)
    """Instructions of the rollouts: `trained`, `paraphrases` (wordings that training never had), `swapped` (the
    instruction of the next task), or a text of one's own in which `{object}` stands for the task's object."""
    readouts: Names
    """Readouts; those that an encoder has no features for are left out for it."""
    heads: Names
    """Behaviour-cloning heads, of the catalog or of `head_variants`."""
    num_demos: Annotated[tuple[Positive, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    """Numbers of demonstrations."""
    seeds: Annotated[tuple[Annotated[Whole, Field(lt=2**63)], ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    """One policy is trained for each."""
    num_episodes: Annotated[Positive, Field(le=MAX_STATES)]
    """Held-out initial states on which each policy is evaluated."""
    split: Literal["selection", "test"]
    """`test`, or `selection` for choosing settings."""
    episode_schedule: str = "fixed"
    """Which episodes are run; `fixed` runs all that are planned."""
    demo_pool: Annotated[Positive, Field(le=MAX_STATES)]
    """Demonstrations collected for each task; a seed draws nested subsets from them."""
    demo_end: Annotated[str, AfterValidator(_demo_end)] = "first_success"
    """Where demonstrations end: `first_success`, `hold_<steps>` or `full_horizon`."""
    render: Literal["full", "lean"]
    """`full` or `lean`."""
    image_px: Annotated[Positive, Field(ge=16, le=1024)]
    """Side of the rendered image."""
    preprocessing: Literal["full_frame", "official"]
    """`full_frame` shows every encoder the whole image at its input size; `official` crops the centre as the evaluation
    of its authors does."""
    horizon: Annotated[Positive, Field(le=MAX_STEPS)] | None
    """Control steps; null takes each task's own."""
    success_rule: Literal["any_step", "last_step"]
    """`any_step` or `last_step`."""
    history: Annotated[Positive, Field(le=1024)]
    """Frames given to the head."""
    fusion: Literal["none", "concat", "flare"]
    """`none`, `concat` or `flare`."""
    budget_dim: Annotated[Positive, Field(le=MAX_WIDTH)] | None
    """Common feature width, null for none."""
    head_options: Mapping[str, JsonValue]
    """Options handed to every head."""
    head_variants: Mapping[str, HeadVariant] = {}
    """Heads of this run by a name of its own: what each differs in; none where it is left out, as configurations of
    earlier versions do."""
    probes: Names = ("state_regression", "action_regression", "correspondence", "segmentation")
    """What `pvrbench probe` measures for each encoder on each task; a run leaves it aside."""
    probe_options: Mapping[str, Mapping[str, str | int | float | bool]] = {}
    """Options of probes that differ from the catalog's, by the probe's name; a run leaves them aside."""
    imagination: ImaginationConfig | None = None
    """What `pvrbench imagine` trains, measures and plans; a run leaves it aside, and configurations of earlier versions
    have none."""
    train: TrainConfig
    """Optimiser settings."""
    checkpoint_evaluations: Whole
    """Intermediate evaluations for the legacy maximum; 0 for none."""
    deviations: tuple[Deviation, ...]
    """Departures from the published protocol, and of the overrides from the preset."""
    engine: EngineConfig
    """Use of the machine."""
    cluster: ClusterConfig = ClusterConfig()
    """What each job asks of a cluster."""

    @property
    def output_dir(self) -> Path:
        """Where the run is written: `run_dir`, or `results/runs/<name>`."""
        if self.run_dir is not None:
            return Path(self.run_dir).expanduser()
        return Path("results") / "runs" / (self.name or self.preset)

    def head_text(self, name: str) -> str:
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
        raise ConfigError(problems(error)) from error
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
            raise ConfigError(problems(error, ("head_variants", name, "train"))) from error


def problems(error: ValidationError, inside: tuple[str, ...] = ()) -> str:
    """What is wrong with some settings, on one line.

    Args:
        error: what pydantic found.
        inside: keys of the groups that the settings belong to.
    """
    lines: list[str] = []
    for detail in error.errors():
        where = ".".join(str(part) for part in (*inside, *detail["loc"]))
        message, given = detail["msg"], detail.get("input")
        if message == MISSING:
            lines.append(f"{where} is missing")
            continue
        near = difflib.get_close_matches(str(given), re.findall(r"'([^']*)'", message), n=1, cutoff=0.5)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        lines.append(f"{where}={given!r} is not valid: {_plain(message)}{hint}")
    return "; ".join(lines)


def _plain(message: str) -> str:
    """A message of pydantic, as it goes on behind a colon."""
    if message.startswith("Value should have at least 1 item"):
        return "give at least one"
    message = re.sub(r"dictionary( or instance of \w+)?$", "table, such as {key:value}", message)
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return f"{message[0].lower()}{message[1:]}"
