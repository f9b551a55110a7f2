"""What a model looks like: the arrays that pictures read and physics does not; copied, compared, changed by looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# Arrays of a model that pictures alone read. Positions and directions of lights and cameras reach pictures through the
# simulation's data.
FIELDS = (
    "geom_rgba",
    "geom_matid",
    "site_rgba",
    "site_matid",
    "mat_rgba",
    "mat_emission",
    "mat_specular",
    "mat_shininess",
    "mat_reflectance",
    "mat_texid",
    "mat_texrepeat",
    "mat_texuniform",
    "light_active",
    "light_type",
    "light_directional",
    "light_diffuse",
    "light_ambient",
    "light_specular",
    "light_attenuation",
    "light_exponent",
    "light_cutoff",
    "tendon_rgba",
    "tex_data",
)
HEADLIGHT = ("ambient", "diffuse", "specular", "active")


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """A copy of what a model looks like.

    Attributes:
        arrays: of `FIELDS`, by name.
        headlight: of `HEADLIGHT`, by name.
    """

    arrays: Mapping[str, Array]
    headlight: Mapping[str, Array | int]

    def equals(self, model: Any) -> bool:
        """Whether a model looks like this."""
        light = model.vis.headlight
        return all(np.array_equal(getattr(model, name), array) for name, array in self.arrays.items()) and all(
            np.array_equal(getattr(light, name), value) for name, value in self.headlight.items()
        )

    def give_to(self, model: Any, *, with_textures: bool = True) -> None:
        """Makes a model of the same scene look like this."""
        for name, array in self.arrays.items():
            if with_textures or name != "tex_data":
                getattr(model, name)[:] = array
        for name, value in self.headlight.items():
            if isinstance(value, int):
                setattr(model.vis.headlight, name, value)
            else:
                getattr(model.vis.headlight, name)[:] = value


def appearance_of(model: Any, like: Appearance | None = None) -> Appearance:
    """A copy of what a model looks like now.

    Args:
        model: the model.
        like: another of the same scene; its textures are shared where they are equal, so that comparing is cheap.
    """
    light = model.vis.headlight
    arrays = {name: np.array(getattr(model, name)) for name in FIELDS if hasattr(model, name)}
    if like is not None and np.array_equal(like.arrays["tex_data"], arrays["tex_data"]):
        arrays["tex_data"] = like.arrays["tex_data"]
    headlight = {name: int(light.active) if name == "active" else np.array(getattr(light, name)) for name in HEADLIGHT}
    return Appearance(arrays, headlight)


def changed_textures(model: Any, before: Array) -> list[int]:
    """Numbers of the textures whose pixels differ from those of `before`, a copy of `tex_data`."""
    changed: list[int] = []
    for texture in range(model.ntex):
        start = int(model.tex_adr[texture])
        stop = start + int(model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture])
        if not np.array_equal(model.tex_data[start:stop], before[start:stop]):
            changed.append(texture)
    return changed
