"""The catalog of looks: one row for each axis along which pictures change. Plain data, importable without a simulator.

Rows of installed packages stand beside the shipped ones (entry-point group `pvrbench.looks`, whose names are catalog
names and whose objects are `LookSpec`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import entry_points

from pvrbench.envs.spec import Look, LookSpec


class LookError(ValueError):
    """There is no such look; the text offers the nearest one or the levels that there are."""


_LIGHT = "pvrbench.envs.pictures.light:scale_light"
_CAST = "pvrbench.envs.pictures.light:cast_light"

# Source: the axes and names of Burns et al. (CoRL 2024, arXiv:2312.12444) and KitchenShift (Xing et al. 2021). They
# publish no magnitudes for these scenes; ours are factors on all light and turns of the light's direction.
_ROWS = (
    LookSpec(
        name="nominal",
        entry_point="pvrbench.envs.pictures.light:leave",
        description="the scene as the simulator has it",
        num_levels=0,
    ),
    LookSpec(
        name="light/brighter",
        entry_point=_LIGHT,
        description="all lights are stronger, and textured surfaces reflect more",
        num_levels=3,
        options={"factor": (1.3, 1.6, 2.0), "gamma": (0.85, 0.7, 0.55)},
    ),
    LookSpec(
        name="light/darker",
        entry_point=_LIGHT,
        description="all lights are weaker",
        num_levels=3,
        options={"factor": (0.65, 0.4, 0.2), "gamma": (1.0, 1.0, 1.0)},
    ),
    LookSpec(
        name="light/cast_left",
        entry_point=_CAST,
        description="the lamps shine from the left of the scene (its positive y), and the camera's light is weaker",
        num_levels=3,
        options={"turn": (0.7, 1.0, 1.25), "headlight": (0.5, 0.4, 0.3)},
    ),
    LookSpec(
        name="light/cast_right",
        entry_point=_CAST,
        description="the lamps shine from the right of the scene (its negative y), and the camera's light is weaker",
        num_levels=3,
        options={"turn": (-0.7, -1.0, -1.25), "headlight": (0.5, 0.4, 0.3)},
    ),
)

LOOKS: Mapping[str, LookSpec] = {row.name: row for row in _ROWS}


def look_spec(look: Look) -> LookSpec:
    """The row of a look, shipped or of an installed package.

    Raises:
        LookError: there is no such axis or level, or the package's row cannot be used.
    """
    spec = LOOKS.get(look.axis) or _plugin(look.axis)
    if not (look.axis == "nominal" or 1 <= look.level <= spec.num_levels):
        raise LookError(f"The look {look.axis!r} has levels 1 to {spec.num_levels}; level {look.level} was asked for.")
    return spec


def level_options(look: Look) -> dict[str, float]:
    """The options of a look at its level.

    Raises:
        LookError: there is no such axis or level.
    """
    return {name: values[look.level - 1] for name, values in look_spec(look).options.items()}


def _plugin(name: str) -> LookSpec:
    points = {point.name: point for point in entry_points(group="pvrbench.looks")}
    if name not in points:
        names = [*LOOKS, *points]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."
        raise LookError(f"Unknown look {name!r}. {hint}")
    point = points[name]
    where = f"Look {name!r} ({point.value} of package {point.dist.name if point.dist else '?'})"
    try:
        spec = point.load()
    except Exception as error:
        # Whatever another package raises on import: the user has to know which one it is.
        raise LookError(
            f"{where} cannot be imported: {type(error).__name__}: {error}. Mend or uninstall it."
        ) from error
    if not isinstance(spec, LookSpec) or spec.name != name:
        raise LookError(f"{where} is {spec!r}; expected the LookSpec {name!r}, as its entry point.")
    if any(len(values) != spec.num_levels for values in spec.options.values()):
        raise LookError(f"{where} has {spec.num_levels} levels, and an option with another number of values.")
    return spec
