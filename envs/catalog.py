"""The tasks: one row each. Plain data, importable without a simulator."""

from __future__ import annotations

from collections.abc import Mapping

from envs.spec import TaskSpec

# Meta-World's own horizon is 500 steps; its scripted experts need 40 to 170. A failed episode costs the whole horizon,
# so ours is a margin above the slowest expert; the published protocols set 500 back.
_METAWORLD_HORIZON = 200

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


def _metaworld(name: str, description: str) -> TaskSpec:
    return TaskSpec(
        name=f"metaworld/{name}",
        entry_point="envs.metaworld_tasks:load_task",
        description=description,
        horizon=_METAWORLD_HORIZON,
        control_hz=80,
        cameras=_METAWORLD_CAMERAS,
        proprio_dim=4,
        state_dim=30,
        action_dim=4,
        success_rule="Meta-World's own `success`, at any step",
        packages=("metaworld", "mujoco", "numpy"),
        options={"environment": name},
    )


def _robosuite(name: str, environment: str, description: str, horizon: int, state_dim: int) -> TaskSpec:
    return TaskSpec(
        name=f"robosuite/{name}",
        entry_point="envs.robosuite_tasks:load_task",
        description=description,
        horizon=horizon,
        control_hz=20,
        cameras=("agentview", "frontview", "sideview", "birdview", "robot0_eye_in_hand"),
        proprio_dim=9,
        state_dim=state_dim,
        action_dim=7,
        success_rule="robosuite's own `_check_success`, at any step",
        packages=("robosuite", "mujoco", "numpy"),
        options={"environment": environment},
    )


_ROWS = (
    _metaworld("assembly-v3", "pick up the ring by its handle and put it on the peg"),
    _metaworld("bin-picking-v3", "move the block from one bin to the other"),
    _metaworld("button-press-topdown-v3", "press the button from above"),
    _metaworld("drawer-open-v3", "open the drawer"),
    _metaworld("hammer-v3", "hammer the nail into the wall"),
    _robosuite("lift", "Lift", "lift the red cube off the table", 100, 17),
    _robosuite("door", "Door", "turn the handle and open the door", 200, 19),
    _robosuite("stack", "Stack", "put the red cube on the green one", 200, 25),
    _robosuite("pick_place_can", "PickPlaceCan", "put the can into its compartment of the other bin", 300, 18),
    _robosuite("nut_assembly_square", "NutAssemblySquare", "put the square nut on the square peg", 300, 26),
)

TASKS: Mapping[str, TaskSpec] = {row.name: row for row in _ROWS}

TASK_SETS: Mapping[str, tuple[str, ...]] = {
    "metaworld5": (
        "metaworld/assembly-v3",
        "metaworld/bin-picking-v3",
        "metaworld/button-press-topdown-v3",
        "metaworld/drawer-open-v3",
        "metaworld/hammer-v3",
    ),
}
