"""The probes: one row each. Plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.benchmark.probes.spec import ProbeSpec

_HERE = "pvrbench.benchmark.probes"

_ROWS = (
    ProbeSpec(
        name="state_regression",
        entry_point=f"{_HERE}.state_regression:StateRegression",
        description="linear probe: hand, objects, goal and gripper from frozen features",
        needs="readouts",
        headline=("r2", "positions"),
        options={"strayed_episodes": 8, "stray_noise": 0.3, "stride": 5, "max_frames": 1000},
        paper="Alain and Bengio 2017, arXiv:1610.01644",
    ),
    ProbeSpec(
        name="action_regression",
        entry_point=f"{_HERE}.action_regression:ActionRegression",
        description="linear probe: the expert's action from frozen features, on held-out demonstrations",
        needs="readouts",
        headline=("r2", "all"),
        options={"max_frames": 1000},
    ),
    ProbeSpec(
        name="correspondence",
        entry_point=f"{_HERE}.correspondence:Correspondence",
        description="the same surface point from another camera, later, and under another look",
        needs="grid",
        headline=("pck_0.10", "all"),
        options={
            "num_episodes": 10,
            "num_instants": 3,
            "num_points": 10,
            "within_px": 8.0,
            "looks": "light/darker@2+light/cast_left@2",
        },
        paper="Tang et al. 2023, arXiv:2306.03881",
    ),
    ProbeSpec(
        name="segmentation",
        entry_point=f"{_HERE}.segmentation:Segmentation",
        description="clusters of patch features and attention of the class token against exact masks, without training",
        needs="grid",
        headline=("miou", "all"),
        options={"num_episodes": 10, "num_instants": 3, "num_clusters": 8, "attention_mass": 0.6},
        paper="Burns et al. 2023, arXiv:2312.12444",
    ),
    ProbeSpec(
        name="dift_sweep",
        entry_point=f"{_HERE}.dift_sweep:DiftSweep",
        description="correspondence and the object's position for blocks and timesteps of a diffusion model",
        needs="timestep",
        headline=("pck_0.10", ""),
        options={
            "timesteps": "1+51+101+201+261+401+601+801",
            "blocks": "up_0+up_1",
            "ensembles": "1+8",
            "num_episodes": 20,
            "num_instants": 4,
            "num_pair_episodes": 5,
            "num_points": 10,
            "within_px": 8.0,
        },
        paper="Tang et al. 2023, arXiv:2306.03881",
    ),
)

PROBES: Mapping[str, ProbeSpec] = {row.name: row for row in _ROWS}
