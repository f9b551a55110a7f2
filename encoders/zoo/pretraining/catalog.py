"""The objectives: one row each. Plain data, importable without torch.

All share network, frames and budget. Learning rates are for this budget (thousands of updates of a small batch), not
the papers', which are for hundreds of epochs of large ones; the rest of each recipe is the paper's unless its module
says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.zoo.pretraining.spec import BackboneSpec, ObjectiveSpec, PhaseSpec, RecipeSpec

_TEXT = {"text_width": 128, "text_depth": 2}


def _whole(lr: float) -> tuple[PhaseSpec, ...]:
    return (PhaseSpec(name="all", share=1.0, lr=lr),)


_ROWS = (
    ObjectiveSpec(
        name="mae",
        entry_point="pvrbench.encoders.zoo.pretraining.masked:load_mae",
        description="masked pixel reconstruction",
        paper="He et al. 2022, MAE, arXiv:2111.06377",
        recipe=RecipeSpec(phases=_whole(1e-3), batch_size=64),
        options={"mask_ratio": 0.75, "crop_scale": 0.2, "flip": 0.5, "decoder_width": 96, "decoder_depth": 2},
    ),
    ObjectiveSpec(
        name="simclr",
        entry_point="pvrbench.encoders.zoo.pretraining.contrastive:load_simclr",
        description="contrast of two views",
        paper="Chen et al. 2020, SimCLR, arXiv:2002.05709",
        recipe=RecipeSpec(phases=_whole(5e-4), batch_size=128, betas=(0.9, 0.999)),
        num_views=2,
        options={
            "temperature": 0.2,
            "hidden": 512,
            "projection": 128,
            "crop_scale": 0.2,
            "flip": 0.5,
            "strength": 0.5,
            "blur": 0.0,
        },
    ),
    ObjectiveSpec(
        name="dino",
        entry_point="pvrbench.encoders.zoo.pretraining.distillation:load_dino",
        description="self-distillation",
        paper="Caron et al. 2021, DINO, arXiv:2104.14294",
        recipe=RecipeSpec(
            phases=_whole(5e-4),
            batch_size=64,
            weight_decay=0.04,
            final_weight_decay=0.4,
            betas=(0.9, 0.999),
            clip_norm=3.0,
        ),
        num_views=6,
        options={
            "hidden": 1024,
            "bottleneck": 256,
            "prototypes": 1024,
            "local_crops": 4,
            "local_px": 48,
            "flip": 0.5,
            "momentum": 0.99,
            "warm_teacher_temperature": 0.03,
            "teacher_temperature": 0.04,
            "temperature_warmup": 0.3,
            "frozen_prototypes": 0.01,
        },
    ),
    ObjectiveSpec(
        name="clip",
        entry_point="pvrbench.encoders.zoo.pretraining.contrastive:load_clip",
        description="image-text contrastive",
        paper="Radford et al. 2021, CLIP, arXiv:2103.00020",
        recipe=RecipeSpec(phases=_whole(5e-4), batch_size=128, weight_decay=0.2, betas=(0.9, 0.98)),
        needs_text=True,
        options={**_TEXT, "projection": 128, "temperature": 0.07, "crop_scale": 0.8},
    ),
    ObjectiveSpec(
        name="r3m",
        entry_point="pvrbench.encoders.zoo.pretraining.time_contrastive:load_r3m",
        description="time contrast, language alignment, sparsity",
        paper="Nair et al. 2022, R3M, arXiv:2203.12601",
        recipe=RecipeSpec(phases=_whole(5e-4), batch_size=16, weight_decay=0.0, betas=(0.9, 0.999)),
        needs_text=True,
        sampling="quintets",
        options={
            **_TEXT,
            "hidden": 512,
            "crop_scale": 0.2,
            "time_weight": 1.0,
            "language_weight": 1.0,
            "l1_weight": 1e-5,
            "l2_weight": 1e-5,
        },
    ),
    ObjectiveSpec(
        name="vcond",
        entry_point="pvrbench.encoders.zoo.pretraining.masked:load_vcond",
        description="language-conditioned masked reconstruction",
        paper="Karamcheti et al. 2023, Voltron, arXiv:2302.12766",
        recipe=RecipeSpec(phases=_whole(1e-3), batch_size=64),
        needs_text=True,
        num_registers=2,
        options={
            **_TEXT,
            "mask_ratio": 0.75,
            "crop_scale": 1.0,
            "flip": 0.0,
            "decoder_width": 96,
            "decoder_depth": 2,
            "text_dropout": 0.1,
        },
    ),
    ObjectiveSpec(
        name="dift",
        entry_point="pvrbench.encoders.zoo.pretraining.latent_diffusion:load_latent_diffusion",
        description="latent diffusion",
        paper="Rombach et al. 2022, arXiv:2112.10752; Tang et al. 2023, DIFT, arXiv:2306.03881",
        recipe=RecipeSpec(
            phases=(
                PhaseSpec(name="autoencoder", share=0.4, lr=2e-3),
                PhaseSpec(name="diffusion", share=0.6, lr=1e-3),
            ),
            batch_size=64,
            weight_decay=0.01,
            betas=(0.9, 0.999),
            clip_norm=1.0,
        ),
        outputs=("grid",),
        encoder="pvrbench.encoders.families.small_diffusion:load",
        options={
            "vae_channels": "64+96",
            "unet_channels": "64+128",
            "latent_channels": 4,
            "noise_seed": 0,
            "block": "up_0",
            "timestep": 261,
            "divergence_weight": 1e-6,
            "crop_scale": 1.0,
            "flip": 0.0,
        },
    ),
)

OBJECTIVES: Mapping[str, ObjectiveSpec] = {row.name: row for row in _ROWS}

DISTILLATION = ObjectiveSpec(
    name="distil",
    entry_point="pvrbench.encoders.zoo.pretraining.teachers:load_distillation",
    description="distillation of the spatial features of frozen encoders",
    paper="Shang et al. 2024, Theia, arXiv:2407.20179",
    recipe=RecipeSpec(phases=_whole(1e-3), batch_size=64, weight_decay=0.01, betas=(0.9, 0.999)),
    outputs=("grid",),
    options={"teachers": "zoo_dift"},
)
"""What `pvrbench distil` trains. It stands apart from the objectives, since it starts from other encoders."""

STUDENTS: Mapping[str, BackboneSpec] = {
    "zoo_vit": BackboneSpec(),
    "zoo_vit_half": BackboneSpec(width=96),
}
"""Networks that may learn from teachers: that of the zoo, and one of half its width."""
