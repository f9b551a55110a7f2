"""robomimic's own training and rollout loop against ours: a frozen ResNet-18 on Lift; prints one JSON object.

Both sides train the same number of policies for the same number of updates on the same demonstrations and pictures,
and roll each out for the same number of episodes from the same reset seeds, to success or the same horizon. robomimic
encodes every batch and every step anew, one environment and one policy at a time, as its scripts do. robomimic is no
part of this project: `make bench` puts it into a folder of its own beside the other packages.
"""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from pvrbench.benchmark.catalog import tasks
from pvrbench.benchmark.engine.context import load_task
from pvrbench.benchmark.engine.hardware import num_cores
from pvrbench.benchmark.engine.provenance import processor
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.envs.demos.collection import collect_demos
from pvrbench.envs.demos.robomimic_file import export_demos
from pvrbench.envs.spec import View

TASK, CAMERA, IMAGE_PX, ENCODER = "robosuite/lift", "agentview", 112, "random_resnet18_112"
NUM_POLICIES, NUM_DEMOS, NUM_UPDATES, BATCH_SIZE, NUM_EPISODES, HORIZON = 3, 5, 50, 32, 10, 100


def ours(folder: Path, render: str) -> dict[str, float]:
    """Seconds of one `pvrbench run` from an empty cache, and the control steps of its episodes."""
    settings = {
        "tasks": f"[{TASK}]",
        "encoders": f"[{ENCODER}]",
        "baselines": "[]",
        "readouts": "[mean]",
        "num_demos": f"[{NUM_DEMOS}]",
        "demo_pool": NUM_DEMOS,
        "seeds": f"[{','.join(map(str, range(NUM_POLICIES)))}]",
        "num_episodes": NUM_EPISODES,
        "horizon": HORIZON,
        "image_px": IMAGE_PX,
        "render": render,
        "train.num_updates": NUM_UPDATES,
        "train.batch_size": BATCH_SIZE,
        "engine.cache_dir": folder / f"cache-{render}",
        "engine.videos": "false",
        "run_dir": folder / f"run-{render}",
    }
    command = [
        sys.executable,
        "-m",
        "pvrbench.benchmark.cli",
        "run",
        *(f"{key}={value}" for key, value in settings.items()),
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - start
    records, _ = RecordStore(folder / f"run-{render}").read()
    steps = sum(episode.num_steps for record in records for episode in record.episodes)
    return {"seconds": taken, "control_steps": steps}


def theirs(folder: Path) -> dict[str, float]:
    """Seconds of robomimic's own functions for the same work, and of one of its default (hard) resets."""
    import robomimic.utils.file_utils as files
    import robomimic.utils.obs_utils as observations
    import robomimic.utils.train_utils as training
    import torch
    from robomimic.algo import RolloutPolicy, algo_factory
    from robomimic.config import config_factory
    from torch.utils.data import DataLoader

    task = load_task(tasks()[TASK])
    exported = folder / "robomimic.hdf5"
    view = View(camera=CAMERA, image_px=IMAGE_PX, render="full")
    export_demos(task, collect_demos(task, NUM_DEMOS, folder / "demos.hdf5"), exported, view)
    config: Any = config_factory("bc")
    with config.values_unlocked():
        config.train.data = str(exported)
        config.train.batch_size = BATCH_SIZE
        config.observation.modalities.obs.low_dim = ["proprio"]
        config.observation.modalities.obs.rgb = [f"{CAMERA}_image"]
        config.observation.encoder.rgb.core_class = "VisualCore"
        config.observation.encoder.rgb.core_kwargs.backbone_class = "ResNet18Conv"
        config.observation.encoder.rgb.core_kwargs.backbone_kwargs.pretrained = False
        config.algo.actor_layer_dims = [256, 256]
    observations.initialize_obs_utils_with_config(config)
    shapes = files.get_shape_metadata_from_dataset(str(exported), all_obs_keys=["proprio", f"{CAMERA}_image"])
    env = _environment(hard_reset=False)
    start, steps = time.perf_counter(), 0.0
    for seed in range(NUM_POLICIES):
        torch.manual_seed(seed)
        model: Any = algo_factory("bc", config, shapes["all_shapes"], shapes["ac_dim"], torch.device("cpu"))
        for name, parameter in model.nets.named_parameters():
            if "backbone" in name:
                parameter.requires_grad_(requires_grad=False)
        dataset, _ = training.load_data_for_training(config, obs_keys=shapes["all_obs_keys"])
        loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=config.train.num_data_workers)
        training.run_epoch(model, loader, epoch=1, num_steps=NUM_UPDATES)
        env.next_seed = 0
        rollouts, _ = training.rollout_with_stats(
            RolloutPolicy(model), {"Lift": env}, HORIZON, num_episodes=NUM_EPISODES, terminate_on_success=True
        )
        steps += rollouts["Lift"]["Horizon"] * NUM_EPISODES
    taken = time.perf_counter() - start
    hard = _environment(hard_reset=True)
    hard.reset()
    start = time.perf_counter()
    hard.reset()
    return {"seconds": taken, "control_steps": steps, "hard_reset_s": time.perf_counter() - start}


def _environment(*, hard_reset: bool) -> Any:
    import robosuite

    # robomimic 0.3.0 imports the long dead mujoco_py, for the name of one exception, and egl_probe, for a list of GPUs.
    _stand_in("mujoco_py", builder=SimpleNamespace(MujocoException=RuntimeError))
    _stand_in("egl_probe", get_available_devices=list)
    from robomimic.envs.env_robosuite import EnvRobosuite

    class Seeded(EnvRobosuite):
        """robomimic's environment, its episodes from given seeds, with the proprioception of our files."""

        next_seed = 0

        def reset(self) -> Any:
            self.env.rng.bit_generator.state = np.random.default_rng(self.next_seed).bit_generator.state
            self.next_seed += 1
            return super().reset()

        def get_observation(self, di: Any = None) -> Any:
            found = super().get_observation(di)
            names = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
            return {**found, "proprio": np.concatenate([found[name] for name in names])}

    return Seeded(
        "Lift",
        use_image_obs=True,
        robots="Panda",
        controller_configs=robosuite.load_composite_controller_config(robot="Panda"),
        control_freq=20,
        camera_names=[CAMERA],
        camera_heights=IMAGE_PX,
        camera_widths=IMAGE_PX,
        hard_reset=hard_reset,
        seed=0,
    )


def _stand_in(name: str, **attributes: object) -> None:
    """Puts a module in the place of one that is not to be had any more."""
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules.setdefault(name, module)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=num_cores())
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = Path(name)
        result: dict[str, Any] = {"hardware": processor(), "cores": options.cores, "robomimic": theirs(folder)}
        result |= {"ours_same_render": ours(folder, "full"), "ours_lean": ours(folder, "lean")}
    resets = NUM_POLICIES * NUM_EPISODES * result["robomimic"]["hard_reset_s"]
    result["ratio_same_settings"] = result["robomimic"]["seconds"] / result["ours_same_render"]["seconds"]
    result["ratio_own_defaults"] = (result["robomimic"]["seconds"] + resets) / result["ours_lean"]["seconds"]
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
