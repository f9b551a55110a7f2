"""What robomimic's `env_args` say: which environment, robot and controller a file was recorded with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

from pvrbench.envs.demos.demo_file import DemoError
from pvrbench.envs.spec import TaskSpec

# robomimic's `EnvType`.
ROBOSUITE, GYM = 1, 2


def metadata_of(task: TaskSpec) -> dict[str, Any]:
    """The `env_args` by which robomimic makes the environment of a task.

    robomimic has no environment of Meta-World: such a file names Gymnasium's `Meta-World/MT1`, which robomimic's
    wrapper makes only where `gym.make` knows it.
    """
    simulator, environment = task.packages[0], str(task.options.get("environment", task.name))
    found: dict[str, Any] = {"env_name": environment, "env_version": version(simulator), "type": GYM, "env_kwargs": {}}
    if simulator == "robosuite":
        return {**found, "type": ROBOSUITE, "env_kwargs": _robosuite_arguments()}
    if simulator == "metaworld":
        return {**found, "env_name": "Meta-World/MT1", "env_kwargs": {"env_name": environment}}
    return found


def _robosuite_arguments() -> dict[str, Any]:
    from pvrbench.envs.simulators.robosuite import SIMULATOR_ARGUMENTS, controller_config

    return {**SIMULATOR_ARGUMENTS, "controller_configs": controller_config()}


def check_metadata(task: TaskSpec, text: str) -> None:
    """Compares a file's `env_args` with the installed environment of a task.

    Args:
        task: what the file is to be imported as.
        text: the JSON of `env_args`.

    Raises:
        DemoError: it is of another environment, simulator version, robot or controller, or its actions have another
            meaning (absolute poses, another scale, another frame).
    """
    try:
        found: dict[str, Any] = json.loads(text)
        name = str(found["env_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise DemoError(f"its env_args cannot be read ({error}); expected robomimic's JSON with env_name") from error
    if name == task.name:
        return  # a file of ours
    ours = metadata_of(task)
    kwargs: dict[str, Any] = found.get("env_kwargs") or {}
    theirs = f"{name} {kwargs.get('env_name', '')}".strip()
    expected = f"{ours['env_name']} {ours['env_kwargs'].get('env_name', '')}".strip()
    if theirs.removesuffix("-v0") != expected and theirs != expected:
        raise DemoError(f"it was recorded in {theirs}, and {task.name} is {expected}; import it as its own task")
    if found.get("type") == ROBOSUITE:
        _check_version(str(found.get("env_version") or ""), str(ours["env_version"]))
        _check_controller(kwargs, ours["env_kwargs"])


def _check_version(theirs: str, ours: str) -> None:
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise DemoError(
            f"it was recorded in robosuite {theirs or '(no version)'}, and {ours} is installed: states and controllers "
            "differ; convert it with robomimic's own script, or collect demonstrations here"
        )


def _check_controller(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for key in ("robots", "control_freq"):
        given, expected = theirs.get(key, ours[key]), ours[key]
        if _listed(given) != _listed(expected):
            raise DemoError(f"its {key} is {given}, expected {expected}; such actions mean something else here")
    given, expected = (_arm(arguments.get("controller_configs")) for arguments in (theirs, ours))
    if given is None or expected is None:
        return
    if given.get("control_delta") is False or given.get("input_type") == "absolute":
        raise DemoError("its actions are absolute poses, expected displacements; convert them before the import")
    for key in ("type", "input_min", "input_max", "output_min", "output_max", "kp", "input_ref_frame"):
        if key in given and key in expected and _listed(given[key]) != _listed(expected[key]):
            raise DemoError(
                f"its controller has {key} {given[key]}, expected {expected[key]}; such actions mean something else "
                "here, so convert them before the import"
            )


def _listed(value: object) -> object:
    """A list of one value, or of equal values, as that value: both forms are in use."""
    items: list[object] = list(cast("Sequence[object]", value)) if isinstance(value, (list, tuple)) else [value]
    return items[0] if len(set(map(str, items))) == 1 else items


def _arm(config: Any) -> dict[str, Any] | None:
    """The part of a controller configuration that moves the arm; robosuite 1.4 has no parts."""
    if not isinstance(config, dict):
        return None
    whole = cast("dict[str, Any]", config)
    if not isinstance(whole.get("body_parts"), dict):
        return whole
    parts = cast("dict[str, Any]", whole["body_parts"])
    return parts.get("right") or parts.get("arms", {}).get("right")
