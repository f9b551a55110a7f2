"""robosuite's operational-space control step without its repeated look-ups, bit for bit the same.

robosuite spends most of a control step in Python: every one of the 25 physics steps looks up names, calls
the Jacobian four times and refreshes observables nobody asked for. Here the same numbers go through the same
floating-point operations in the same order, so that states stay identical to the last bit (tested); only
what has no influence on them is left out.

Source: Khatib (1987), A unified approach for motion and force control of robot manipulators, as implemented
by robosuite's `OperationalSpaceController` (MIT licence), fixed impedance, no interpolation.
"""

from __future__ import annotations

from typing import Any

import mujoco as untyped_mujoco
import numpy as np
import robosuite.utils.control_utils as untyped_control

mujoco: Any = untyped_mujoco
control: Any = untyped_control

_ARM = "right"


class ArmControl:
    """Drives one freshly reset robosuite environment through control steps.

    Args:
        env: a single-arm robosuite environment with the `OSC_POSE` controller, just reset: robosuite makes
            new controller objects at every reset, and they are read here.
    """

    def __init__(self, env: Any) -> None:
        self.model: Any = env.sim.model._model
        self.data: Any = env.sim.data._data
        self.num_substeps = int(env.control_timestep / env.model_timestep)
        self._composite = env.robots[0].composite_controller
        self._arm = self._composite.part_controllers[_ARM]
        gripper_part = env.robots[0].get_gripper_name(_ARM)
        self._gripper = self._composite.part_controllers[gripper_part]
        actuators = env.robots[0]._ref_actuators_indexes_dict
        self._arm_ctrl = np.array(actuators[_ARM])
        self._gripper_ctrl = np.array(actuators[gripper_part])
        self._ctrl_range = self.model.actuator_ctrlrange[self._arm_ctrl].T.copy()
        self._gripper_range = self.model.actuator_ctrlrange[self._gripper_ctrl].T.copy()
        self._site = self.model.site(self._arm.ref_name).id
        self._qpos = np.array(self._arm.qpos_index)
        self._qvel = np.array(self._arm.qvel_index)
        self._jac_pos = np.zeros((3, self.model.nv))
        self._jac_ori = np.zeros((3, self.model.nv))
        self._mass = np.zeros((self.model.nv, self.model.nv))

    def step(self, action: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Applies one action in [-1, 1]^7 for one control step (25 physics steps at 20 Hz)."""
        model, data = self.model, self.data
        goal_pos = goal_ori = None
        for _ in range(self.num_substeps):
            mujoco.mj_step1(model, data)
            if goal_pos is None:
                self._composite.update_state()
                self._composite.set_goal(action)
                # The finger command depends on the goal alone, so it holds for the whole control step.
                fingers = self._gripper.run_controller()
                data.ctrl[self._gripper_ctrl] = np.clip(fingers, *self._gripper_range)
                # The base does not move, so neither does the goal in the world.
                goal_pos = self._arm.origin_pos + np.dot(self._arm.origin_ori, self._arm.goal_pos)
                goal_ori = np.dot(self._arm.origin_ori, self._arm.goal_ori)
                # robosuite's first torque after a reset comes from the state its controller was made in,
                # not from the present one; its own code is asked once a control step to keep that.
                torques = self._arm.run_controller()
            else:
                torques = self._torques(goal_pos, goal_ori)
            data.ctrl[self._arm_ctrl] = np.clip(torques, *self._ctrl_range)
            mujoco.mj_step2(model, data)

    def _torques(self, goal_pos: Any, goal_ori: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Joint torques in N m that pull the hand towards a goal pose given in the world."""
        arm, model, data = self._arm, self.model, self.data
        mujoco.mj_jacSite(model, data, self._jac_pos, self._jac_ori, self._site)
        qvel = data.qvel
        jac_pos, jac_ori = arm.J_pos, arm.J_ori
        jac_pos[:, :] = self._jac_pos[:, self._qvel]
        jac_ori[:, :] = self._jac_ori[:, self._qvel]
        jac = arm.J_full
        jac[:3] = jac_pos
        jac[3:] = jac_ori
        mujoco.mj_fullM(model, self._mass, data.qM)
        mass = self._mass[self._qvel, :][:, self._qvel]

        force = (goal_pos - data.site_xpos[self._site]) * arm.kp[:3] + -np.dot(self._jac_pos, qvel) * arm.kd[:3]
        ori = data.site_xmat[self._site].reshape(3, 3)
        torque = control.orientation_error(goal_ori, ori) * arm.kp[3:] + -np.dot(self._jac_ori, qvel) * arm.kd[3:]
        _, lambda_pos, lambda_ori, nullspace = control.opspace_matrices(mass, jac, jac_pos, jac_ori)
        wrench = np.concatenate([np.dot(lambda_pos, force), np.dot(lambda_ori, torque)])
        torques = np.dot(jac.T, wrench) + data.qfrc_bias[self._qvel]
        torques += control.nullspace_torques(
            mass, nullspace, arm.initial_joint, data.qpos[self._qpos], qvel[self._qvel]
        )
        return torques
