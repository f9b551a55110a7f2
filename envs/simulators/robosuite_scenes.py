"""Scenes of robosuite in which several instructions make sense: objects on cells that each reset draws anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from robosuite.environments.manipulation.lift import Lift as UntypedLift
from robosuite.environments.manipulation.pick_place import PickPlace as UntypedPickPlace
from robosuite.models.arenas import TableArena as UntypedTableArena
from robosuite.models.objects import BoxObject as UntypedBoxObject
from robosuite.models.tasks import ManipulationTask as UntypedManipulationTask

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

Lift: Any = UntypedLift
PickPlace: Any = UntypedPickPlace
TableArena: Any = UntypedTableArena
BoxObject: Any = UntypedBoxObject
ManipulationTask: Any = UntypedManipulationTask

COLOURS = {
    "red": (0.85, 0.08, 0.08, 1.0),
    "green": (0.1, 0.65, 0.15, 1.0),
    "blue": (0.1, 0.2, 0.85, 1.0),
    "yellow": (0.9, 0.8, 0.1, 1.0),
}
"""Colours of the cubes of `ColouredRow`, red, green, blue and opacity."""

CUBE_HALF_M = 0.02

ROW_CELLS_M = np.array([[0.0, -0.18], [0.0, -0.06], [0.0, 0.06], [0.0, 0.18]])
ROW_JITTER_M = np.array([0.04, 0.015])
"""Middles of the cells of `ColouredRow` from the middle of the table, and how far objects stand from them."""

BIN_CELLS_M = np.array([[-0.075, -0.1], [-0.075, 0.1], [0.075, -0.1], [0.075, 0.1]])
BIN_JITTER_M = np.array([0.03, 0.03])
"""The same for `FourObjects`, from the middle of the first bin: a hand has room beside every object."""


class CellSampler:
    """Puts each object on a cell of its own, which it draws, near the middle; nothing is turned.

    It stands in for a sampler of robosuite.

    Args:
        objects: the objects, as many as cells.
        cells_m: middles of the cells.
        jitter_m: largest distance from them, by coordinate.
        reference_pos: where the cells are counted from.
        rng: the simulator's generator.
    """

    def __init__(
        self,
        objects: list[Any],
        cells_m: Float64[Array, "K 2"],
        jitter_m: Float64[Array, " 2"],
        reference_pos: Float64[Array, " 3"],
        rng: np.random.Generator,
    ) -> None:
        self._objects, self._cells_m, self._jitter_m = objects, cells_m, jitter_m
        self._reference_pos, self._rng = reference_pos, rng

    def sample(self, fixtures: dict[str, Any] | None = None, **_: object) -> dict[str, Any]:
        """Position, orientation (w x y z) and object by name, those of `fixtures` included."""
        order = self._rng.permutation(len(self._objects))
        jitter = self._rng.uniform(-1.0, 1.0, (len(self._objects), 2)) * self._jitter_m
        placed = dict(fixtures or {})
        for thing, cell, away in zip(self._objects, order, jitter, strict=True):
            x, y = self._cells_m[cell] + away
            height = 0.001 - thing.bottom_offset[2]
            place = self._reference_pos + np.array([x, y, height])
            placed[thing.name] = (place, np.array([1.0, 0.0, 0.0, 0.0]), thing)
        return placed


class ColouredRow(Lift):
    """A row of cubes of different colours, in any order, in front of the arm."""

    def _load_model(self) -> None:
        super(Lift, self)._load_model()
        self.robots[0].robot_model.set_base_xpos(
            self.robots[0].robot_model.base_xpos_offset["table"](self.table_full_size[0])
        )
        arena = TableArena(
            table_full_size=self.table_full_size, table_friction=self.table_friction, table_offset=self.table_offset
        )
        arena.set_origin([0, 0, 0])
        size = [CUBE_HALF_M] * 3
        cubes = [BoxObject(name=name, size=size, rgba=rgba, rng=self.rng) for name, rgba in COLOURS.items()]
        self.cube = cubes[0]  # what the parent class refers to
        self.placement_initializer = CellSampler(cubes, ROW_CELLS_M, ROW_JITTER_M, self.table_offset, self.rng)
        self.model = ManipulationTask(
            mujoco_arena=arena,
            mujoco_robots=[robot.robot_model for robot in self.robots],
            mujoco_objects=cubes,
        )


class FourObjects(PickPlace):
    """robosuite's PickPlace with all four objects, each on a cell of its own, so that the hand has room."""

    def _get_placement_initializer(self) -> None:
        super()._get_placement_initializer()
        self.placement_initializer.samplers["CollisionObjectSampler"] = CellSampler(
            self.objects, BIN_CELLS_M, BIN_JITTER_M, self.bin1_pos, self.rng
        )
