"""Presets and overrides -> one checked configuration. The only module that touches Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import cast

from pvrbench.benchmark.catalog import unknown
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError, departures, validate_config


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    folder = files("pvrbench.benchmark.conf").joinpath("preset")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def compose_config(overrides: Sequence[str]) -> BenchmarkConfig:
    """Composes preset and overrides into a checked configuration.

    Args:
        overrides: `key=value` texts in Hydra's grammar.

    Raises:
        ConfigError: a key, preset or value is not valid.
    """
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _check_keys(overrides)
    # Hydra's grammar wants quotes around the `?model=...` of a checkpoint URI; who types it should not have to know.
    overrides = [
        re.sub(r"(?<![\w'\"])((?:file|timm|hf|torchvision):[^,\]\s'\"]+)", r"'\1'", text) for text in overrides
    ]
    # Which options a head has is its own matter, and which variants the user's, so Hydra is told to take any.
    overrides = [re.sub(r"^\+*(?=(head_options|head_variants)\b)", "++", text) for text in overrides]
    chosen = [text for text in overrides if text.startswith("preset=")]
    try:
        with initialize_config_module("pvrbench.benchmark.conf", version_base="1.3"):
            given, preset = (
                validate_config(
                    cast(
                        "Mapping[str, object]", OmegaConf.to_container(compose("config", overrides=texts), resolve=True)
                    )
                )
                for texts in (overrides, chosen)
            )
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"Cannot read the settings: {error}. Write them as key=value, lists as [a,b].") from error
    return given.model_copy(update={"deviations": (*given.deviations, *departures(preset, given))})


def _check_keys(overrides: Iterable[str]) -> None:
    import yaml

    defaults: dict[str, object] = yaml.safe_load(files("pvrbench.benchmark.conf").joinpath("config.yaml").read_text())
    keys = {key for key in defaults if key != "defaults"} | {"preset"}
    groups = {key: cast("dict[str, object]", value) for key, value in defaults.items() if isinstance(value, dict)}
    keys |= {f"{key}.{inner}" for key, group in groups.items() for inner in group}
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.lstrip("+~")
        if not equals:
            raise ConfigError(f"{override!r} is not a setting. Write key=value, for instance num_demos=[5,10,25].")
        if key == "preset" and value not in preset_names():
            raise ConfigError(unknown("preset", value, preset_names()))
        if key not in keys and not key.startswith(("head_options.", "head_variants.")):
            raise ConfigError(
                unknown("setting", key, keys).replace("`pvrbench list settings`", "`pvrbench run --help`")
            )
