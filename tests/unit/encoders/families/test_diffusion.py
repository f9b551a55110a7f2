"""Diffusion features on tiny networks with seeded weights, saved in the layout of the published folders."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pvrbench.encoders.families.diffusion import DiffusionEncoder, UNetTap, load, noise_level
from pvrbench.encoders.rows.generative import GENERATIVE_ENCODERS
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.loading import WeightsError, import_weights, verify

BLOCKS = ("down_0", "down_1", "down_2", "down_3", "mid", "up_0", "up_1", "up_2", "up_3")


def tiny_unet(seed: int = 0, cross_attention_dim: int = 12) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return cast("Any", UNet2DConditionModel)(
        block_out_channels=(8, 16, 24, 24),
        attention_head_dim=4,
        cross_attention_dim=cross_attention_dim,
        layers_per_block=2,
        norm_num_groups=4,
    ).eval()


def tiny_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    return cast("Any", AutoencoderKL)(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
    ).eval()


def tiny_spec(**options: str | int) -> EncoderSpec:
    row = GENERATIVE_ENCODERS["dift_sd15_256"]
    return dataclasses.replace(row, image_size=64, options={**row.options, **options})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = tmp_path / "stable-diffusion-v1-5"
    tiny_unet().save_pretrained(place / "unet")
    tiny_vae().save_pretrained(place / "vae")
    context = torch.randn(1, 77, 12, generator=torch.Generator().manual_seed(2))
    save_file({"context": context}, place / "empty_prompt.safetensors")
    return place


def images(count: int = 3, side: int = 80) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


def grid(encoder: DiffusionEncoder, batch: Tensor) -> Tensor:
    found = encoder.encode(batch).grid
    assert found is not None
    return found


def whole_unet_outputs(latents: Tensor, timestep: int, context: Tensor) -> dict[str, Tensor]:
    """Block outputs of the same U-Net when it is run to its end."""
    unet, kept = tiny_unet(), dict[str, Tensor]()
    modules = {"mid": unet.mid_block, **{f"up_{i}": b for i, b in enumerate(unet.up_blocks)}}
    modules |= {f"down_{i}": b for i, b in enumerate(unet.down_blocks)}
    for name, module in modules.items():
        assert module is not None

        def keep(_m: object, _i: object, output: Tensor | tuple[Tensor, ...], name: str = name) -> None:
            kept[name] = output[0] if isinstance(output, tuple) else output

        module.register_forward_hook(keep)
    with torch.no_grad():
        unet(latents, timestep, encoder_hidden_states=context.expand(len(latents), -1, -1))
    return kept


@pytest.mark.parametrize("side", [8, 14, 16])
def test_a_truncated_unet_gives_what_the_whole_one_gives(side: int) -> None:
    latents, context = torch.randn(2, 4, side, side), torch.randn(1, 7, 12)
    whole = whole_unet_outputs(latents, 261, context)
    for name in BLOCKS:
        with torch.no_grad():
            (found,) = UNetTap(tiny_unet(), (name,))(latents, 261, context)
        assert torch.equal(found, whole[name]), name


def test_several_blocks_come_in_the_order_asked_for() -> None:
    latents, context = torch.randn(1, 4, 16, 16), torch.randn(1, 7, 12)
    whole = whole_unet_outputs(latents, 10, context)
    with torch.no_grad():
        found = UNetTap(tiny_unet(), ("mid", "down_1"))(latents, 10, context)
    assert torch.equal(found[0], whole["mid"])
    assert torch.equal(found[1], whole["down_1"])


@pytest.mark.parametrize(("width", "heads"), [(768, 8), (1024, (5, 10, 20, 20))])
def test_block_1_of_the_published_unets_needs_40_percent_fewer_flops(width: int, heads: int | tuple[int, ...]) -> None:
    def unet() -> UNet2DConditionModel:
        with torch.device("meta"):
            return cast("Any", UNet2DConditionModel)(
                attention_head_dim=heads, cross_attention_dim=width, use_linear_projection=width == 1024
            ).eval()

    latents, context = torch.empty(1, 4, 32, 32, device="meta"), torch.empty(1, 77, width, device="meta")
    whole, tap = unet(), UNetTap(unet(), ("up_1",))
    timestep = torch.empty(1, device="meta")
    counts: list[int] = []
    for run in (lambda: whole(latents, timestep, encoder_hidden_states=context), lambda: tap(latents, 261, context)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        counts.append(counter.get_total_flops())
    assert counts[1] <= 0.6 * counts[0], counts


def test_an_unknown_block_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no block up_7; it has down_0, .*mid, up_0"):
        UNetTap(tiny_unet(), ("up_7",))


@pytest.mark.parametrize(
    ("timestep", "signal", "noise"),
    [(0, 0.999575, 0.029155), (199, 0.869044, 0.494734), (261, 0.809734, 0.586797)],
)
def test_the_noise_levels_are_those_of_the_published_schedule(timestep: int, signal: float, noise: float) -> None:
    assert noise_level(timestep) == pytest.approx((signal, noise), abs=2e-6)


def test_timesteps_end_at_999() -> None:
    with pytest.raises(ValueError, match=r"Timestep 1000 is not in 0\.\.999"):
        noise_level(1000)


def test_the_same_image_gives_the_same_feature(folder: Path) -> None:
    first, second = load(tiny_spec()), load(tiny_spec())
    torch.manual_seed(9)
    assert first.digest == second.digest
    assert torch.equal(grid(first, images()), grid(second, images()))
    torch.testing.assert_close(grid(first, images())[1:2], grid(first, images()[1:2]), rtol=1e-5, atol=1e-5)


def test_a_feature_is_the_block_output_of_the_noised_latent(folder: Path) -> None:
    encoder = load(tiny_spec())
    pixels = torch.nn.functional.interpolate(
        images().permute(0, 3, 1, 2) / 255, (64, 64), mode="bilinear", antialias=True
    )
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents: Tensor = cast("Any", tiny_vae()).encode(pixels * 2 - 1).latent_dist.mode() * 0.18215
    context = torch.randn(1, 77, 12, generator=torch.Generator().manual_seed(2))
    expected = whole_unet_outputs(0.8097342 * latents + 0.5867975 * noise, 261, context)["up_1"]
    torch.testing.assert_close(grid(encoder, images()), expected, rtol=1e-4, atol=1e-5)


def test_an_ensemble_is_the_mean_over_its_noises_and_encodes_the_image_once(folder: Path) -> None:
    encoder = load(tiny_spec(ensemble=3))
    calls: list[int] = []
    vae = encoder.network.get_submodule("vae.encoder")

    def count(*_: object) -> None:
        calls.append(1)

    vae.register_forward_hook(count)
    assert grid(encoder, images()).shape == (3, 24, 4, 4)
    assert len(calls) == 1
    assert not torch.equal(grid(encoder, images()), grid(load(tiny_spec()), images()))


def test_several_blocks_are_brought_to_the_largest_side_and_joined(folder: Path) -> None:
    found = grid(load(tiny_spec(blocks="down_1+down_2+down_3+mid", timestep=0)), images())
    assert found.shape == (3, 16 + 24 + 24 + 24, 2, 2)


def test_latents_need_no_unet(folder: Path) -> None:
    encoder = load(tiny_spec(blocks=""))
    assert grid(encoder, images()).shape == (3, 4, 8, 8)
    assert not [name for name, _ in encoder.network.named_parameters() if "decoder" in name or "unet" in name]


def test_options_and_prompt_change_the_digest(folder: Path) -> None:
    digests = {
        load(tiny_spec(**options)).digest for options in ({}, {"timestep": 1}, {"blocks": "mid"}, {"noise_seed": 1})
    }
    save_file({"context": torch.zeros(1, 77, 12)}, folder / "other.safetensors")
    digests.add(load(tiny_spec(prompt="other.safetensors")).digest)
    assert len(digests) == 5


def test_float_images_are_refused(folder: Path) -> None:
    with pytest.raises(TypeError, match="takes raw uint8 RGB"):
        load(tiny_spec()).encode(images().float())


def test_a_downloaded_folder_is_imported_and_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load(tiny_spec()).digest
    elsewhere = folder.parent / "elsewhere"
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(elsewhere))
    path = import_weights(tiny_spec(), folder)
    assert path == elsewhere / "stable-diffusion-v1-5"
    assert verify(tiny_spec()) == ""
    # The prompt's embedding is not published with the model, so it is not imported with it.
    with pytest.raises(WeightsError, match="prompt embedding"):
        load(tiny_spec())
    shutil.copy(folder / "empty_prompt.safetensors", path)
    assert load(tiny_spec()).digest == expected


def test_missing_weights_say_what_to_run_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        WeightsError,
        match=r"'dift_sd15_256' are not on this machine, and HF_HUB_OFFLINE is set.*weights fetch dift_sd15_256",
    ):
        load(tiny_spec())


def test_a_missing_prompt_embedding_says_how_it_is_made(folder: Path) -> None:
    (folder / "empty_prompt.safetensors").unlink()
    with pytest.raises(
        WeightsError, match=r"prompt embedding of 'dift_sd15_256'.*python -m pvrbench.encoders.families.prompt"
    ):
        load(tiny_spec())


def test_a_prompt_embedding_of_another_model_is_refused(folder: Path) -> None:
    save_file({"context": torch.zeros(1, 77, 16)}, folder / "empty_prompt.safetensors")
    with pytest.raises(WeightsError, match="16 wide, its U-Net attends to 12"):
        load(tiny_spec())


def test_a_truncated_weight_file_is_named(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="does not hold a sound UNet2DConditionModel"):
        load(tiny_spec())
