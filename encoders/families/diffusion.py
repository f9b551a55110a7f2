"""Features of latent diffusion models: activations of a U-Net that looks at a noised image, and VAE latents.

The networks are diffusers' own. An image always gives the same feature: the latent is the mode of the VAE's
posterior and the noise is one fixed tensor, drawn on the CPU from `options["noise_seed"]`.

Sources: Tang et al. 2023, DIFT, arXiv:2306.03881; Gupta et al. 2024, SCR, arXiv:2405.05852. Both draw fresh noise and
sample the posterior; with the mode and `ensemble` draws averaged, this is their expectation estimated repeatably.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Shaped
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.preprocessing import check_images, preprocess
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.loading import WeightsError, local_path, locate

_LATENT_SCALE = 0.18215
_BETAS = (0.00085, 0.012)
_NUM_TIMESTEPS = 1000
_CONTEXT_FILE = "empty_prompt.safetensors"


def noise_level(timestep: int) -> tuple[float, float]:
    """Factors of signal and noise at a timestep of Stable Diffusion's schedule, betas linear in their square root.

    Raises:
        ValueError: the timestep is not in 0..999.
    """
    if not 0 <= timestep < _NUM_TIMESTEPS:
        raise ValueError(f"Timestep {timestep} is not in 0..{_NUM_TIMESTEPS - 1}; choose one of those.")
    low, high = (beta**0.5 for beta in _BETAS)
    betas = torch.linspace(low, high, _NUM_TIMESTEPS, dtype=torch.float32).square()
    kept = (1 - betas).cumprod(dim=0)[timestep]
    return float(kept.sqrt()), float((1 - kept).sqrt())


class _Reached(Exception):  # noqa: N818 - a jump out of the forward pass, not an error
    pass


class UNetTap(nn.Module):
    """A U-Net that is run no further than the last block that is wanted.

    A hook leaves the forward pass, so diffusers itself does all routing (cutting the list of blocks instead gives a
    wrong size where the latent's side is no multiple of 8). Blocks that are never reached are dropped.

    Args:
        unet: a U-Net, conditioned on text or on nothing; it is changed.
        blocks: names among `down_0..3`, `mid`, `up_0..3`.

    Raises:
        ValueError: the U-Net has no such block.
    """

    def __init__(self, unet: UNet2DConditionModel | UNet2DModel, blocks: tuple[str, ...]) -> None:
        super().__init__()
        self.unet = unet
        self._blocks = blocks
        self._found: dict[str, Tensor] = {}
        modules = _blocks_in_order(unet)
        missing = [name for name in blocks if name not in modules]
        if missing or not blocks:
            raise ValueError(
                f"The U-Net has no block {', '.join(missing) or '(none given)'}; it has {', '.join(modules)}."
            )
        last = max(blocks, key=list(modules).index)
        for name in blocks:
            # Not a closure: it would not pickle, and a copy of the network would write into this one.
            modules[name].register_forward_hook(partial(self._keep, name, name == last))
        for index in range(len(unet.up_blocks)):
            if list(modules).index(f"up_{index}") > list(modules).index(last):
                unet.up_blocks[index] = nn.Identity()
        unet.conv_norm_out, unet.conv_out = None, nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]

    def _keep(self, name: str, leave: bool, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: FBT001
        del module, inputs
        self._found[name] = output[0] if isinstance(output, tuple) else output
        if leave:
            raise _Reached

    def forward(
        self, latents: Float[Tensor, "B C h w"], timestep: int, context: Float[Tensor, "1 T E"] | None = None
    ) -> list[Tensor]:
        """Outputs of the blocks, in the order in which they were named; without a context the U-Net reads no text."""
        text = {} if context is None else {"encoder_hidden_states": context.expand(len(latents), -1, -1)}
        with contextlib.suppress(_Reached):
            self.unet(latents, timestep, **text)
        found, self._found = self._found, {}
        return [found[name] for name in self._blocks]


def _blocks_in_order(unet: UNet2DConditionModel | UNet2DModel) -> dict[str, nn.Module]:
    down = {f"down_{index}": block for index, block in enumerate(unet.down_blocks)}
    up = {f"up_{index}": block for index, block in enumerate(unet.up_blocks)}
    return {**down, "mid": cast("nn.Module", unet.mid_block), **up}


class DiffusionEncoder:
    """A frozen VAE, and a U-Net stopped early unless the row asks for the latents alone.

    Args:
        spec: the catalog row; see `load` for its options.
        vae: the autoencoder; its decoder is dropped.
        tap: the U-Net, None for latents.
        context: the embedding of the prompt, None for latents.
    """

    def __init__(
        self, spec: EncoderSpec, vae: AutoencoderKL, tap: UNetTap | None, context: Float[Tensor, "1 T E"] | None
    ) -> None:
        self.spec = spec
        vae.decoder = None  # pyright: ignore[reportAttributeAccessIssue]
        self._networks = nn.ModuleDict({"vae": vae} if tap is None else {"vae": vae, "unet": tap})
        self._networks.eval().requires_grad_(requires_grad=False)
        if context is not None:
            self._networks.register_buffer("context", context.clone())
        if tap is not None:
            self._networks.register_buffer("noise", self._draw(spec, vae))
        self._device = "cpu"
        self.digest = digest_of(spec, self._networks)

    @staticmethod
    def _draw(spec: EncoderSpec, vae: AutoencoderKL) -> Float[Tensor, "E 4 h w"]:
        side = spec.image_size // 2 ** (len(vae.config["block_out_channels"]) - 1)
        generator = torch.Generator().manual_seed(int(spec.options["noise_seed"]))
        return torch.randn(
            int(spec.options["ensemble"]), vae.config["latent_channels"], side, side, generator=generator
        )

    @torch.no_grad()
    def encode(self, inputs: Shaped[Tensor, "B ..."]) -> Features:
        """The feature grid of raw frames: block outputs brought to one side and concatenated, or latents."""
        check_images(inputs, self.spec.name)
        return self.features(preprocess(inputs.to(self._device), self.spec))

    def features(self, pixels: Float[Tensor, "B 3 S S"]) -> Features:
        """The same of preprocessed pixels, with the gradients that the caller has enabled."""
        networks = cast("Any", self._networks)
        latents: Tensor = networks.vae.encode(pixels).latent_dist.mode() * _LATENT_SCALE
        if "unet" not in self._networks:
            return Features(grid=latents)
        timestep = int(self.spec.options["timestep"])
        signal, noise = noise_level(timestep)
        # The image is encoded once; each member of the ensemble adds its own fixed noise to the same latent.
        draws = [
            self._joined(networks.unet(signal * latents + noise * draw, timestep, networks.context))
            for draw in networks.noise
        ]
        return Features(grid=torch.stack(draws).mean(dim=0))

    @staticmethod
    def _joined(maps: list[Tensor]) -> Float[Tensor, "B D h w"]:
        side = max(found.shape[-1] for found in maps)
        return torch.cat(
            [
                found
                if found.shape[-1] == side
                else functional.interpolate(found, (side, side), mode="bilinear", align_corners=False)
                for found in maps
            ],
            dim=1,
        )

    def to(self, device: str) -> DiffusionEncoder:
        """The encoder with its networks on `device`."""
        self._networks.to(device)
        self._device = device
        return self

    @property
    def network(self) -> nn.Module:
        """The frozen networks."""
        return self._networks


def load(spec: EncoderSpec) -> DiffusionEncoder:
    """Loads a row from a folder in the layout of diffusers.

    Options: `repo` the published folder, `blocks` names joined by `+` (empty for VAE latents), `timestep`, `ensemble`
    number of fixed noises, `noise_seed`, `unet` sub-folder of the U-Net. The resolution is the row's `image_size`; the
    prompt is the embedding stored in `empty_prompt.safetensors` (tensor `context`, `1 T E`), another file of the
    folder if `prompt` names one.

    Raises:
        WeightsError: the folder or the embedding is not on this machine, or does not fit.
    """
    folder = locate(spec)
    vae = _pretrained(AutoencoderKL, folder / "vae", spec)
    blocks = tuple(name for name in str(spec.options["blocks"]).split("+") if name)
    if not blocks:
        return DiffusionEncoder(spec, vae, None, None)
    context = _context(spec, folder)
    unet = _pretrained(UNet2DConditionModel, folder / str(spec.options.get("unet", "unet")), spec)
    if context.shape[-1] != unet.config["cross_attention_dim"]:
        raise WeightsError(
            f"The prompt embedding of {spec.name!r} is {context.shape[-1]} wide, its U-Net attends to "
            f"{unet.config['cross_attention_dim']}. It was made by another model's text encoder; make it anew."
        )
    return DiffusionEncoder(spec, vae, UNetTap(unet, blocks), context)


def _context(spec: EncoderSpec, folder: Path) -> Float[Tensor, "1 T E"]:
    name = str(spec.options.get("prompt", _CONTEXT_FILE))
    places = [folder / name, local_path(spec) / name]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise WeightsError(
            f"The prompt embedding of {spec.name!r} is not on this machine: no {name} at {places[-1]}. "
            f"With transformers installed and network run "
            f"`python -m pvrbench.encoders.families.prompt {spec.options['repo']} {places[-1]}`; it is needed once."
        )
    return load_file(path)["context"].float()


def _pretrained(kind: type[Any], folder: Path, spec: EncoderSpec) -> Any:
    try:
        # Without this argument diffusers warns where the package accelerate is absent.
        return kind.from_pretrained(
            folder, use_safetensors=True, torch_dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{folder} does not hold a sound {kind.__name__} for {spec.name!r} ({str(error).splitlines()[0]}). "
            "Remove it and fetch it again."
        ) from error
