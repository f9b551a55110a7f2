"""The heads: one row each."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.policies.spec import HeadSpec

_ROWS = (
    HeadSpec(
        name="linear",
        entry_point="pvrbench.policies.heads.network:deterministic",
        description="linear regression onto actions",
        options={"hidden": (), "activation": "relu", "last_layer_scale": 1.0},
    ),
    HeadSpec(
        name="mlp",
        entry_point="pvrbench.policies.heads.network:deterministic",
        description="MLP 256-256, ReLU, mean squared error",
        options={"hidden": (256, 256), "activation": "relu", "last_layer_scale": 1.0},
    ),
    HeadSpec(
        name="mlp_tanh",
        entry_point="pvrbench.policies.heads.network:deterministic",
        description="MLP 256-256, tanh, last layer scaled by 0.01, as in R3M's evaluation",
        options={"hidden": (256, 256), "activation": "tanh", "last_layer_scale": 0.01},
        paper="Nair et al. 2022, R3M, arXiv:2203.12601",
    ),
    HeadSpec(
        name="mlp3",
        entry_point="pvrbench.policies.heads.network:deterministic",
        description="MLP 256-256-256, ReLU, last layer scaled by 0.01, as in CortexBench",
        options={"hidden": (256, 256, 256), "activation": "relu", "last_layer_scale": 0.01},
        paper="Majumdar et al. 2023, VC-1, arXiv:2303.18240",
    ),
    HeadSpec(
        name="mlp_squashed",
        entry_point="pvrbench.policies.heads.network:deterministic",
        description="MLP 1024-1024, ReLU, actions through tanh, as robomimic's BC",
        options={"hidden": (1024, 1024), "activation": "relu", "last_layer_scale": 1.0, "squash": True},
        paper="Mandlekar et al. 2021, robomimic, arXiv:2108.03298",
    ),
    HeadSpec(
        name="gaussian",
        entry_point="pvrbench.policies.heads.network:mixture",
        description="MLP 256-256, one Gaussian, maximum likelihood; acts by its mean",
        options={
            "hidden": (256, 256),
            "activation": "relu",
            "last_layer_scale": 1.0,
            "num_modes": 1,
            "min_std": 1e-4,
            "act_rule": "likeliest_mode",
        },
    ),
    HeadSpec(
        name="gmm",
        entry_point="pvrbench.policies.heads.network:mixture",
        description="MLP 256-256, mixture of 5 Gaussians; acts by the mean of its likeliest mode",
        options={
            "hidden": (256, 256),
            "activation": "relu",
            "last_layer_scale": 1.0,
            "num_modes": 5,
            "min_std": 1e-4,
            "act_rule": "likeliest_mode",
        },
        paper="Mandlekar et al. 2021, robomimic, arXiv:2108.03298",
    ),
    HeadSpec(
        name="gmm_sampled",
        entry_point="pvrbench.policies.heads.network:mixture",
        description="as gmm, but draws a mode by its weight and acts by its mean, robomimic's low-noise evaluation",
        options={
            "hidden": (1024, 1024),
            "activation": "relu",
            "last_layer_scale": 1.0,
            "num_modes": 5,
            "min_std": 1e-4,
            "act_rule": "sampled_mode",
        },
        paper="Mandlekar et al. 2021, robomimic, arXiv:2108.03298",
    ),
)

HEADS: Mapping[str, HeadSpec] = {row.name: row for row in _ROWS}
