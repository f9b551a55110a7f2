"""The tasks: one row each. Plain data, importable without a simulator."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pvrbench.envs.instructed import INSTRUCTED_TASKS, ROBOSUITE_CAMERAS
from pvrbench.envs.spec import Measured, Quantity, Scenery, TaskSpec, Workspace

# Meta-World's own horizon is 500 steps; its scripted experts need 40 to 170. A failed episode costs the whole horizon,
# so ours is a margin above the slowest expert; the published protocols set 500 back.
_METAWORLD_HORIZON = 200
# Experts that push in several attempts, place slowly or try again need longer.
_METAWORLD_LONG_HORIZONS = {
    "push-back-v3": 400,
    "box-close-v3": 300,
    "disassemble-v3": 400,
    "door-open-v3": 400,
    "peg-insert-side-v3": 400,
    "shelf-place-v3": 300,
}
# Of 60 starts; the package's own policies solve no more whatever their speed, and trying again does not help them.
_METAWORLD_WEAK_EXPERTS = {
    "basketball-v3": 0.93,
    "button-press-wall-v3": 0.92,
    "soccer-v3": 0.85,
    "stick-pull-v3": 0.78,
}
# What the package's scripted policies need besides (`make_expert` in `envs/simulators/metaworld.py`): a throw needs its
# speed, and a policy that got stuck lets go and tries again after some steps.
_METAWORLD_EXPERTS: Mapping[str, Mapping[str, float | int]] = {
    "basketball-v3": {"expert_min_speed": 0.95},
    "soccer-v3": {"expert_min_speed": 0.95},
    "box-close-v3": {"expert_attempt_steps": 140, "expert_min_speed": 0.95},
    "door-open-v3": {"expert_attempt_steps": 110},
    "shelf-place-v3": {"expert_attempt_steps": 110, "expert_min_speed": 0.95},
    "sweep-into-v3": {"expert_attempt_steps": 80},
}

# `left_cap2`, of R3M's evaluation, is the default: close to the table, gripper, object and target are all in sight.
_METAWORLD_CAMERAS = (
    "left_cap2",
    "right_cap2",
    "top_cap2",
    "corner",
    "corner2",
    "corner3",
    "corner4",
    "topview",
    "behindGripper",
    "gripperPOV",
)


_METAWORLD_TASKS = {
    "assembly-v3": "pick up the ring by its handle and put it on the peg",
    "basketball-v3": "put the basketball through the hoop",
    "bin-picking-v3": "move the block from one bin to the other",
    "box-close-v3": "take the lid and put it on the box",
    "button-press-topdown-v3": "press the button from above",
    "button-press-topdown-wall-v3": "reach over the wall and press the button from above",
    "button-press-v3": "press the button from the front",
    "button-press-wall-v3": "reach around the wall and press the button from the front",
    "coffee-button-v3": "press the button of the coffee machine",
    "coffee-pull-v3": "pull the mug away from the coffee machine",
    "coffee-push-v3": "push the mug under the coffee machine",
    "dial-turn-v3": "turn the dial by half a turn",
    "disassemble-v3": "lift the ring off the peg",
    "door-close-v3": "close the door",
    "door-lock-v3": "turn the lock of the door",
    "door-open-v3": "open the door by its handle",
    "door-unlock-v3": "turn the lock of the door back",
    "drawer-close-v3": "push the drawer shut",
    "drawer-open-v3": "open the drawer",
    "faucet-close-v3": "turn the faucet off",
    "faucet-open-v3": "turn the faucet on",
    "hammer-v3": "hammer the nail into the wall",
    "hand-insert-v3": "put the block into the hole with the hand",
    "handle-press-side-v3": "press the handle down from the side",
    "handle-press-v3": "press the handle down",
    "handle-pull-side-v3": "pull the handle up from the side",
    "handle-pull-v3": "pull the handle up",
    "lever-pull-v3": "pull the lever up",
    "peg-insert-side-v3": "put the peg into the hole at its side",
    "peg-unplug-side-v3": "pull the peg out of the hole at its side",
    "pick-out-of-hole-v3": "take the puck out of the hole",
    "pick-place-v3": "take the puck to the goal",
    "pick-place-wall-v3": "take the puck over the wall to the goal",
    "plate-slide-back-side-v3": "get the plate out of the cabinet sideways",
    "plate-slide-back-v3": "get the plate out of the cabinet",
    "plate-slide-side-v3": "slide the plate into the cabinet sideways",
    "plate-slide-v3": "slide the plate into the cabinet",
    "push-back-v3": "push the puck backwards to the goal",
    "push-v3": "push the puck to the goal",
    "push-wall-v3": "push the puck around the wall to the goal",
    "reach-v3": "bring the hand to the goal",
    "reach-wall-v3": "bring the hand over the wall to the goal",
    "shelf-place-v3": "put the block on the shelf",
    "soccer-v3": "push the ball into the goal",
    "stick-pull-v3": "pull the box with the stick",
    "stick-push-v3": "push the box with the stick",
    "sweep-into-v3": "sweep the puck into the hole",
    "sweep-v3": "sweep the puck off the table",
    "window-close-v3": "slide the window shut",
    "window-open-v3": "slide the window open",
}

# 1: the privileged state after a reset used to show where objects were before they were put in place.
_METAWORLD_REVISIONS = {
    "dial-turn-v3": 1,
    "drawer-open-v3": 1,
    "faucet-open-v3": 1,
    "lever-pull-v3": 1,
    "window-close-v3": 1,
    "window-open-v3": 1,
}


# Places in the privileged states, see `observe` of the adapters. Tasks with one object have zeros for the second.
_METAWORLD_QUANTITIES = (
    Quantity("hand", 0, 3, "m"),
    Quantity("gripper", 3, 4),
    Quantity("object", 4, 7, "m"),
    Quantity("second_object", 11, 14, "m"),
    Quantity("goal", 18, 21, "m"),
)
_ROBOSUITE_QUANTITIES = (Quantity("hand", 0, 3, "m"), Quantity("gripper", 7, 9), Quantity("object", 9, 12, "m"))
_ROBOSUITE_FURTHER: Mapping[str, tuple[Quantity, ...]] = {
    "Lift": (Quantity("object_turn", 12, 14),),
    "Door": (Quantity("object_turn", 12, 14), Quantity("door_joints", 14, 16)),
    "Stack": (Quantity("goal", 14, 17, "m"),),
    "NutAssemblySquare": (Quantity("object_turn", 12, 14),),
}


METAWORLD_WORKSPACE = Workspace(centre=(0.0, 0.6, 0.0), inner=(0.32, 0.25), outer=(0.55, 0.36))
ROBOSUITE_WORKSPACE = Workspace(centre=(0.0, 0.0, 0.8), inner=(0.2, 0.22), outer=(0.34, 0.36))
_METAWORLD_SCENERY = Scenery(table=("tablelink",), background=("world", "RetainingWall"), workspace=METAWORLD_WORKSPACE)
_ROBOSUITE_SCENERY = Scenery(table=("table",), background=("world",), workspace=ROBOSUITE_WORKSPACE)
# Beside the bins there is nothing that a foreign body could stand on.
_ROBOSUITE_SCENERIES: Mapping[str, Scenery] = dict.fromkeys(
    ("PickPlaceCan", "FourObjects"), Scenery(table=("bin1", "bin2"), background=("world",))
)


def _metaworld(name: str, description: str) -> TaskSpec:
    return TaskSpec(
        name=f"metaworld/{name}",
        entry_point="pvrbench.envs.simulators.metaworld:load_task",
        description=description,
        horizon=_METAWORLD_LONG_HORIZONS.get(name, _METAWORLD_HORIZON),
        control_hz=80,
        cameras=_METAWORLD_CAMERAS,
        proprio_dim=4,
        state_dim=39,
        action_dim=4,
        success_rule="Meta-World's own `success`, at any step",
        packages=("metaworld", "mujoco", "numpy"),
        revision=_METAWORLD_REVISIONS.get(name, 0),
        expert_success=_METAWORLD_WEAK_EXPERTS.get(name),
        options={"environment": name, **_METAWORLD_EXPERTS.get(name, {})},
        quantities=_METAWORLD_QUANTITIES,
        scenery=_METAWORLD_SCENERY,
    )


def _robosuite(name: str, environment: str, description: str, horizon: int, state_dim: int) -> TaskSpec:
    return TaskSpec(
        name=f"robosuite/{name}",
        entry_point="pvrbench.envs.simulators.robosuite:load_task",
        description=description,
        horizon=horizon,
        control_hz=20,
        # The bins of PickPlace come without a camera from the side.
        cameras=tuple(camera for camera in ROBOSUITE_CAMERAS if (environment, camera) != ("PickPlaceCan", "sideview")),
        proprio_dim=9,
        state_dim=state_dim,
        action_dim=7,
        success_rule="robosuite's own `_check_success`, at any step",
        packages=("robosuite", "mujoco", "numpy"),
        # A slightly disturbed hand demonstrates how to recover: without it even the oracle's clone of Lift fails on
        # one start in ten.
        demo_noise=0.1,
        options={"environment": environment},
        quantities=(*_ROBOSUITE_QUANTITIES, *_ROBOSUITE_FURTHER.get(environment, ())),
        scenery=_ROBOSUITE_SCENERIES.get(environment, _ROBOSUITE_SCENERY),
    )


_ROWS = (
    *(_metaworld(name, description) for name, description in _METAWORLD_TASKS.items()),
    _robosuite("lift", "Lift", "lift the red cube off the table", 100, 17),
    _robosuite("door", "Door", "turn the handle and open the door", 200, 19),
    _robosuite("stack", "Stack", "put the red cube on the green one", 200, 25),
    _robosuite("pick_place_can", "PickPlaceCan", "put the can into its compartment of the other bin", 300, 18),
    _robosuite("nut_assembly_square", "NutAssemblySquare", "put the square nut on the square peg", 300, 24),
    *(
        replace(row, scenery=_ROBOSUITE_SCENERIES.get(str(row.options["environment"]), _ROBOSUITE_SCENERY))
        for row in INSTRUCTED_TASKS.values()
    ),
)


def _measured() -> Mapping[str, Measured]:
    """What the references reach, by task, see `tests/performance/study_references.py`."""
    with Path(__file__).with_name("measured.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["task"]: Measured(
                num_demos=int(row["num_demos"]),
                num_states=int(row["num_states"]),
                num_seeds=int(row["num_seeds"]),
                oracle=float(row["oracle"]),
                proprio=float(row["proprio"]),
                expert=float(row["expert"]),
            )
            for row in csv.DictReader(file)
        }


_MEASURED = _measured()

TASKS: Mapping[str, TaskSpec] = {row.name: replace(row, measured=_MEASURED.get(row.name)) for row in _ROWS}

TASK_SETS: Mapping[str, tuple[str, ...]] = {
    "metaworld5": (
        "metaworld/assembly-v3",
        "metaworld/bin-picking-v3",
        "metaworld/button-press-topdown-v3",
        "metaworld/drawer-open-v3",
        "metaworld/hammer-v3",
    ),
    # Meta-World's MT10. Each task has a scene of its own, so the picture says what to do.
    "mt10": tuple(
        f"metaworld/{name}-v3"
        for name in (
            "reach",
            "push",
            "pick-place",
            "door-open",
            "drawer-open",
            "drawer-close",
            "button-press-topdown",
            "peg-insert-side",
            "window-open",
            "window-close",
        )
    ),
    **{
        scene: tuple(
            row.name for row in INSTRUCTED_TASKS.values() if row.instruction and row.instruction.scene == scene
        )
        for scene in ("coloured_row", "four_objects", "two_cubes")
    },
}
