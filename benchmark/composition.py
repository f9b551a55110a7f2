"""Presets and overrides -> one checked configuration. The only module that touches Hydra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import cast

from pvrbench.benchmark.catalog import unknown
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError, validate_config
from pvrbench.benchmark.departures import departures
from pvrbench.benchmark.overrides import read_overrides
from pvrbench.benchmark.records.keys import NOMINAL


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    folder = files("pvrbench.benchmark.conf").joinpath("preset")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


# Settings whose keys are not known beforehand.
FREE_KEYS = ("adaptation_options", "cluster.options", "head_options", "head_variants", "probe_options")

# What an evaluation of stored policies may change; everything else made the policies.
EVALUATION_KEYS = (
    *(
        "name",
        "run_dir",
        "tasks",
        "cameras",
        "encoders",
        "baselines",
        "adaptations",
        "readouts",
        "heads",
        "num_demos",
        "seeds",
        "looks",
        "text_encoders",
        "conditionings",
        "wordings",
    ),
    *("num_episodes", "split", "episode_schedule", "horizon", "success_rule", "render", "image_px"),
)


def compose_config(overrides: Sequence[str], values: Mapping[str, object] | None = None) -> BenchmarkConfig:
    """Composes preset and overrides into a checked configuration.

    Args:
        overrides: `key=value` texts, see `pvrbench.benchmark.overrides`.
        values: further settings as Python values, nested as in `benchmark/conf/config.yaml`; they win.

    Raises:
        ConfigError: a key, preset or value is not valid.
    """
    values = dict(values or {})
    if (preset := values.pop("preset", None)) is not None:
        overrides = [*overrides, f"preset={preset}"]
    _check_keys([*overrides, *(f"{key}=" for key in _dotted(values))])
    chosen = [text.removeprefix("preset=") for text in overrides if text.startswith("preset=")]
    composed = _composed(chosen[-1] if chosen else None)
    preset_config = validate_config(composed)
    check_end(preset_config)
    changes = read_overrides([text for text in overrides if not text.startswith("preset=")], BenchmarkConfig)
    given = validate_config(_merged(_merged(composed, changes), values))
    if given.train_looks != (NOMINAL,) and "looks" not in {*changes, *values}:
        raise ConfigError(
            f"train_looks=[{','.join(given.train_looks)}] was given without looks: say under which looks the policies "
            "are tried, such as looks=[nominal] or the same ones."
        )
    return given.model_copy(update={"deviations": (*given.deviations, *departures(preset_config, given))})


def compose_evaluation(trained: BenchmarkConfig, overrides: Sequence[str]) -> BenchmarkConfig:
    """The configuration of a run with other settings of evaluation.

    Args:
        trained: the configuration of the run whose policies are evaluated.
        overrides: `key=value` texts, see `pvrbench.benchmark.overrides`, of what an evaluation may change.

    Raises:
        ConfigError: a key is not one of an evaluation, or a value is not valid.
    """
    _check_keys(overrides)
    for override in overrides:
        key = override.partition("=")[0]
        is_machine = key.startswith(("engine.", "cluster.")) and key != "engine.precision"
        if key not in EVALUATION_KEYS and not is_machine:
            raise ConfigError(
                f"{key} made the policies of this run and cannot be changed for their evaluation. "
                f"An evaluation may change {', '.join(EVALUATION_KEYS)}, engine.* but engine.precision, and cluster.*; "
                "train anew with `pvrbench run` for other settings."
            )
    named = {"name": None, "run_dir": None}
    changes = read_overrides(overrides, BenchmarkConfig)
    keys = [override.partition("=")[0] for override in overrides]
    given = validate_config(_merged({**trained.model_dump(), **named}, changes))
    kept = tuple(item for item in trained.deviations if item.of not in keys)
    return given.model_copy(update={"deviations": (*kept, *departures(trained, given))})


def check_end(preset: BenchmarkConfig) -> None:
    """Checks that the demonstrations of a preset show what its success rule asks for.

    Raises:
        ConfigError: they end at their first success, success counts at the last step, and no deviation says so.
    """
    is_stated = any(item.of == "demo_end" for item in preset.deviations)
    if preset.success_rule == "last_step" and preset.demo_end == "first_success" and not is_stated:
        raise ConfigError(
            f"Preset {preset.preset!r} has success_rule=last_step, and its demonstrations end at their first success, "
            "so none shows how to keep the task solved. Give it demo_end: full_horizon, or state a deviation with "
            "of: demo_end."
        )


@cache
def _composed(preset: str | None) -> dict[str, object]:
    """The values of a preset, or of the default one, as plain Python."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("pvrbench.benchmark.conf", version_base="1.3"):
        found = OmegaConf.to_container(compose("config", [] if preset is None else [f"preset={preset}"]), resolve=True)
    return cast("dict[str, object]", found)


def _merged(values: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Values with changes, which may be nested."""
    merged = dict(values)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            merged[key] = _merged(cast("Mapping[str, object]", old), cast("Mapping[str, object]", value))
        else:
            merged[key] = value
    return merged


def _dotted(values: Mapping[str, object]) -> list[str]:
    """Keys of nested values, `group.key`."""
    keys: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and key not in FREE_KEYS:
            keys += [f"{key}.{name}" for name in cast("Mapping[str, object]", value)]
        else:
            keys.append(key)
    return keys


def _check_keys(overrides: Iterable[str]) -> None:
    import yaml

    defaults: dict[str, object] = yaml.safe_load(files("pvrbench.benchmark.conf").joinpath("config.yaml").read_text())
    keys = {key for key in defaults if key != "defaults"} | {"preset"}
    groups = {key: cast("dict[str, object]", value) for key, value in defaults.items() if isinstance(value, dict)}
    keys |= {f"{key}.{inner}" for key, group in groups.items() for inner in group}
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.lstrip("+")
        if not equals:
            raise ConfigError(f"{override!r} is not a setting. Write key=value, for instance num_demos=[5,10,25].")
        if key == "preset" and value not in preset_names():
            raise ConfigError(unknown("preset", value, preset_names()))
        if key not in keys and not key.startswith(tuple(f"{name}." for name in FREE_KEYS)):
            raise ConfigError(unknown("setting", key, keys))
