"""The heads that ship: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pvrbench.policies.options import ChunkedOptions, DiffusionOptions, LinearOptions, MixtureOptions, MlpOptions
from pvrbench.policies.spec import HeadSpec

_MLP = "pvrbench.policies.heads.mlp:MlpHead"
_GMM = "pvrbench.policies.heads.gmm:MixtureHead"

_ROWS = (
    HeadSpec(
        name="linear",
        entry_point=_MLP,
        description="linear regression onto actions",
        options=LinearOptions(),
        fit_together=True,
    ),
    HeadSpec(
        name="mlp",
        entry_point=_MLP,
        description="MLP 256-256, ReLU, mean squared error",
        options=MlpOptions(),
        fit_together=True,
    ),
    HeadSpec(
        name="mlp_tanh",
        entry_point=_MLP,
        description="MLP 256-256, tanh, last layer scaled by 0.01, as in R3M's evaluation",
        options=MlpOptions(activation="tanh", last_layer_scale=0.01),
        paper="Nair et al. 2022, R3M, arXiv:2203.12601",
        fit_together=True,
    ),
    HeadSpec(
        name="mlp3",
        entry_point=_MLP,
        description="MLP 256-256-256, ReLU, last layer scaled by 0.01, as in CortexBench",
        options=MlpOptions(hidden=(256, 256, 256), last_layer_scale=0.01),
        paper="Majumdar et al. 2023, VC-1, arXiv:2303.18240",
        fit_together=True,
    ),
    HeadSpec(
        name="mlp_squashed",
        entry_point=_MLP,
        description="MLP 1024-1024, ReLU, actions through tanh, as robomimic's BC",
        options=MlpOptions(hidden=(1024, 1024), squash=True),
        paper="Mandlekar et al. 2021, robomimic, arXiv:2108.03298",
        fit_together=True,
    ),
    HeadSpec(
        name="gaussian",
        entry_point=_GMM,
        description="MLP 256-256, one Gaussian, maximum likelihood; acts by its mean",
        options=MixtureOptions(num_modes=1),
        fit_together=True,
    ),
    HeadSpec(
        name="gmm",
        entry_point=_GMM,
        description="MLP 256-256, mixture of 5 Gaussians; acts by the mean of its likeliest mode",
        options=MixtureOptions(),
        paper="Mandlekar et al. 2021, robomimic, arXiv:2108.03298",
        fit_together=True,
    ),
    HeadSpec(
        name="gmm_sampled",
        entry_point=_GMM,
        description="as gmm, but draws a mode by its weight and acts by its mean, robomimic's low-noise evaluation",
        options=MixtureOptions(hidden=(1024, 1024), act_rule="sampled_mode"),
        paper="Mandlekar et al. 2021, robomimic, arXiv:2108.03298",
        fit_together=True,
    ),
    HeadSpec(
        name="chunked",
        entry_point="pvrbench.policies.heads.chunked:ChunkedHead",
        description="MLP 256-256 that predicts 8 actions, L1 loss; acts by the ensemble of its predictions for a step",
        options=ChunkedOptions(),
        paper="Zhao et al. 2023, ACT, arXiv:2304.13705",
    ),
    HeadSpec(
        name="diffusion",
        entry_point="pvrbench.policies.heads.diffusion:DiffusionHead",
        description="diffusion policy, residual MLP with FiLM; predicts 8 actions in 10 DDIM steps, executes 4",
        options=DiffusionOptions(),
        paper="Chi et al. 2023, Diffusion Policy, arXiv:2303.04137",
    ),
)

HEADS: Mapping[str, HeadSpec] = MappingProxyType({row.name: row for row in _ROWS})
