"""The command line: `pvrbench VERB`. The only module that touches Hydra."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import cast

from benchmark import commands, pretraining_commands, result_commands
from benchmark.config import BenchmarkConfig, ConfigError, departures, validate_config
from benchmark.frames_commands import add_frames
from benchmark.registry import unknown

RUN_HELP = """\
Settings are given as key=value and override the preset's; lists are written [a,b,c].

  pvrbench run preset=quickstart
  pvrbench run preset=quickstart tasks=[metaworld/assembly-v3] encoders=[pixels_14,oracle,proprio] \\
      num_demos=[5,10,25] seeds=[0,1,2] num_episodes=50 name=assembly
  pvrbench run encoders=[my_package.module:MyEncoder] train.num_updates=5000
  pvrbench run encoders=[timm:vit_small_patch16_224.dino,file:/path/mine.pth?model=vit_tiny_patch16_224]

All keys with their defaults: benchmark/conf/config.yaml. Names: `pvrbench list encoders|tasks|heads|readouts|presets`.
A run that was interrupted goes on where it stopped when the same command is given again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    # Threads of torch that wait for work are not to keep the simulators from it; read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if hasattr(options, "overrides"):
            options.config = compose_config(options.overrides)
        return cast("int", options.body(options))
    except KeyboardInterrupt:
        print("Interrupted. What is recorded is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if os.environ.get("PVRBENCH_DEBUG"):
            raise
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    folder = files("benchmark.conf").joinpath("preset")
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
    # Which options a head has is its own matter, so Hydra is told to take any.
    overrides = [re.sub(r"^\+*(?=head_options\b)", "++", text) for text in overrides]
    chosen = [text for text in overrides if text.startswith("preset=")]
    try:
        with initialize_config_module("benchmark.conf", version_base="1.3"):
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

    defaults: dict[str, object] = yaml.safe_load(files("benchmark.conf").joinpath("config.yaml").read_text())
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
        if key not in keys and not key.startswith("head_options."):
            raise ConfigError(
                unknown("setting", key, keys).replace("`pvrbench list settings`", "`pvrbench run --help`")
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pvrbench",
        description="Ranks frozen visual encoders for robot manipulation: success against demonstrations.",
        epilog="Start with `pvrbench doctor`, then `pvrbench run preset=quickstart`.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, help_text: str, body: object, *, epilog: str | None = None) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=help_text,
            description=help_text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=epilog,
        )
        sub.set_defaults(body=body)
        return sub

    run = verb("run", "Run a benchmark and report it.", commands.run, epilog=RUN_HELP)
    run.add_argument("overrides", nargs="*", metavar="key=value")
    plan = verb("plan", "Check a benchmark and show what it would do.", commands.plan, epilog=RUN_HELP)
    plan.add_argument("overrides", nargs="*", metavar="key=value")
    report = verb("report", "Figures, tables and a page from the records of runs.", commands.report)
    report.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    report.add_argument("--output", help="folder for the report; default: the first run's")
    listing = verb("list", "List what can be named in a run.", commands.list_names)
    listing.add_argument("kind", choices=["encoders", "tasks", "heads", "readouts", "presets"])
    doctor = verb("doctor", "Render a frame in each suite; say what is missing and how to mend it.", commands.doctor)
    weights = commands.add_tools(verb)
    for sub in (plan, report, listing, doctor, weights):
        sub.add_argument("--json", action="store_true", help="print JSON for a program to read")
    add_frames(verb)
    result_commands.add_results(verb)
    pretraining_commands.add_pretraining(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
