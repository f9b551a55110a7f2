"""The catalog of looks: one row for each axis along which pictures change. Plain data, importable without a simulator.

Rows of installed packages stand beside the shipped ones (entry-point group `pvrbench.looks`, whose names are catalog
names and whose objects are `LookSpec`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

from pvrbench.envs.spec import Look, LookSet, LookSpec, ScenePart, Scenery, TaskSpec


class LookError(ValueError):
    """There is no such look; the text offers the nearest one or the levels that there are."""


_AT = "pvrbench.envs.pictures.looks"
_ALL_OPAQUE = (0.4, 0.7, 1.0)


def _row(
    name: str, function: str, description: str, needs: tuple[ScenePart, ...] = (), **options: tuple[float, ...]
) -> LookSpec:
    return LookSpec(
        name=name,
        entry_point=f"{_AT}.{function}",
        description=description,
        num_levels=3,
        options=options,
        needs=needs,
    )


def _wood(name: str, red: float, green: float, blue: float) -> LookSpec:
    return _row(
        f"table_texture/{name}_wood",
        "surfaces:lay_wood",
        f"the table is of {name} wood",
        ("table",),
        share=_ALL_OPAQUE,
        red=(red,) * 3,
        green=(green,) * 3,
        blue=(blue,) * 3,
    )


# Source: names of Burns et al. (CoRL 2024, arXiv:2312.12444) and KitchenShift (Xing et al. 2021), which publish no
# magnitudes for these scenes; camera magnitudes of RL-ViGen (Yuan et al. 2023) and The Colosseum (Pumacay et al. 2024).
# The other magnitudes are ours.
_ROWS = (
    LookSpec(name="nominal", description="the scene as the simulator has it", num_levels=0),
    _row(
        "light/brighter",
        "light:scale_light",
        "all lights are stronger, and textured surfaces reflect more",
        factor=(1.3, 1.6, 2.0),
        gamma=(0.85, 0.7, 0.55),
    ),
    _row(
        "light/darker",
        "light:scale_light",
        "all lights are weaker",
        factor=(0.65, 0.4, 0.25),
        gamma=(1.0, 1.0, 1.0),
    ),
    _row(
        "light/cast_left",
        "light:cast_light",
        "one lamp shines from the left of the table (positive y), and the camera's light is weaker",
        turn=(0.7, 1.0, 1.25),
        metres=(1.2, 1.0, 0.9),
        headlight=(0.5, 0.4, 0.3),
    ),
    _row(
        "light/cast_right",
        "light:cast_light",
        "one lamp shines from the right of the table (negative y), and the camera's light is weaker",
        turn=(-0.7, -1.0, -1.25),
        metres=(1.2, 1.0, 0.9),
        headlight=(0.5, 0.4, 0.3),
    ),
    _row(
        "table_texture/pattern",
        "surfaces:paint_table",
        "the table has checks, stripes or blotches that the seed draws",
        ("table",),
        share=_ALL_OPAQUE,
    ),
    _wood("blue", 0.30, 0.42, 0.72),
    _wood("dark", 0.36, 0.24, 0.16),
    _wood("red", 0.68, 0.24, 0.18),
    _row(
        "camera/position",
        "camera:shift_camera",
        "the camera stands elsewhere and looks in the same direction",
        metres=(0.06, 0.12, 0.16),
    ),
    _row("camera/rotation", "camera:turn_camera", "the camera is turned on the spot", radians=(0.05, 0.12, 0.16)),
    _row(
        "camera/field_of_view", "camera:widen_camera", "the camera shows more at the edges", degrees=(5.0, 10.0, 20.0)
    ),
    _row(
        "distractors",
        "distractors:add_distractors",
        "foreign bodies stand on the table, out of the robot's way: 1, 3, 9",
        ("workspace",),
        count=(1.0, 3.0, 9.0),
    ),
    _row(
        "object_colour",
        "surfaces:recolour_objects",
        "objects have other hues, and grey ones are coloured",
        ("objects",),
        degrees=(40.0, 90.0, 150.0),
        saturation=(0.35, 0.5, 0.65),
    ),
    _row(
        "background",
        "surfaces:paint_background",
        "floor and walls have checks, stripes or blotches that the seed draws",
        ("background",),
        share=_ALL_OPAQUE,
    ),
    _row("image_noise/gaussian", "noise:add_noise", "each pixel is noisy", sigma=(8.0, 16.0, 32.0)),
    _row(
        "image_noise/motion_blur", "noise:blur_motion", "the picture is smeared along a line", share=(0.02, 0.04, 0.07)
    ),
    _row("image_noise/jpeg", "noise:compress", "the picture is compressed", quality=(40.0, 20.0, 10.0)),
    LookSpec(
        name="combined",
        description="brighter light, a patterned table, another camera, distractors, object colours and background",
        num_levels=3,
        members=(
            *("light/brighter", "table_texture/pattern", "camera/position", "distractors", "object_colour"),
            "background",
        ),
    ),
)

LOOKS: Mapping[str, LookSpec] = {row.name: row for row in _ROWS}

_ALL_CASTS = ("light/brighter@2", "light/darker@2", "light/cast_left@2", "light/cast_right@2")

LOOK_SETS: Mapping[str, LookSet] = {
    row.name: row
    for row in (
        LookSet(
            name="burns",
            looks=(
                *_ALL_CASTS,
                *("table_texture/blue_wood@3", "table_texture/dark_wood@3", "table_texture/red_wood@3"),
                *("distractors@1", "distractors@2", "distractors@3"),
            ),
            source="Burns et al., CoRL 2024, arXiv:2312.12444",
            deviations=(
                "the shifted scenes were not released: magnitudes of light, the woods and the bodies are ours",
                "distractors are boxes, cylinders and balls instead of scanned objects",
            ),
        ),
        LookSet(
            name="colosseum",
            looks=(
                *("light/darker@2", "table_texture/pattern@3", "camera/position@2", "camera/rotation@1"),
                *("distractors@2", "object_colour@2", "background@3", "combined@2"),
            ),
            source="Pumacay et al., RSS 2024, The Colosseum",
            deviations=(
                "the camera moves by 12 cm in a drawn direction instead of up to 10 cm along each axis",
                "light gets weaker and does not change its colour",
                "3 distractors instead of 2",
                "sizes, masses and frictions of objects are left out: they change the physics",
            ),
        ),
        LookSet(
            name="kitchenshift",
            looks=(*_ALL_CASTS, "camera/position@3", "table_texture/dark_wood@3", "object_colour@2", "background@3"),
            source="Xing et al., NeurIPS 2021 datasets and benchmarks, KitchenShift",
            deviations=(
                "tasks are not those of the kitchen, so textures are of table, objects, floor and walls",
                "the camera moves by 16 cm instead of to two other places",
                "kinds of appliances, layouts and initial poses of the robot are left out: they change the physics",
            ),
        ),
        LookSet(
            name="rl_vigen",
            looks=(
                *("background@1", "background@2", "background@3", "camera/position@2", "camera/position@3"),
                *("camera/rotation@2", "camera/rotation@3", "camera/field_of_view@2", "camera/field_of_view@3"),
            ),
            source="Yuan et al., NeurIPS 2023, RL-ViGen, its robosuite settings",
            deviations=(
                "backgrounds are drawn patterns instead of ten photographed textures",
                "place, direction and field of view of the camera change one at a time instead of all together",
                "moving lights, which its settings leave off, are left out",
            ),
        ),
    )
}


def expand_looks(names: Iterable[str]) -> tuple[str, ...]:
    """Replaces the name of a set (`burns`) by its looks; keeps order, drops repeats."""
    expanded = (look for name in names for look in (LOOK_SETS[name].looks if name in LOOK_SETS else (name,)))
    return tuple(dict.fromkeys(expanded))


def look_spec(look: Look) -> LookSpec:
    """The row of a look, shipped or of an installed package.

    Raises:
        LookError: there is no such axis or level, or the package's row cannot be used.
    """
    spec = LOOKS.get(look.axis) or _plugin(look.axis)
    if not (look.axis == "nominal" or 1 <= look.level <= spec.num_levels):
        raise LookError(f"The look {look.axis!r} has levels 1 to {spec.num_levels}; level {look.level} was asked for.")
    return spec


def look_members(look: Look, scenery: Scenery) -> tuple[LookSpec, ...]:
    """The rows whose functions a look applies, one after another.

    Args:
        look: the look.
        scenery: of the task.

    Raises:
        LookError: there is no such axis or level, or the scene lacks what it needs.
    """
    row = look_spec(look)
    members = tuple(look_spec(Look(name, look.level)) for name in row.members) or (row,)
    for member in members:
        missing = [part for part in member.needs if part not in scenery.parts]
        if missing:
            raise LookError(f"{member.name} changes the {' and '.join(missing)}, which this scene does not name.")
    return members


def refusal(look: Look, task: TaskSpec) -> str | None:
    """Why a task cannot have a look; None where it can.

    Raises:
        LookError: there is no such axis or level.
    """
    try:
        look_spec(look)
        look_members(look, task.scenery or Scenery())
    except LookError as error:
        return f"{task.name} cannot have the look {look}: {error}"
    return None


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
