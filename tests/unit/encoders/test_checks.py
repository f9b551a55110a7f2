"""`check_encoder` passes sound encoders and names the fault of each broken one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pvrbench.benchmark.cli import main
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.checks import check_encoder
from pvrbench.encoders.cost import flops_per_frame, measure, num_params
from pvrbench.encoders.families.baseline import load as load_baseline
from pvrbench.encoders.families.custom import CustomEncoder
from pvrbench.encoders.families.timm_backbone import load as load_timm
from pvrbench.encoders.preprocessing import check_images, preprocess
from pvrbench.encoders.spec import EncoderSpec, FeatureField

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


def broken(encoder: Encoder) -> set[str]:
    return {verdict.name.partition(":")[0].partition(",")[0] for verdict in check_encoder(encoder) if verdict.problem}


@pytest.mark.parametrize(
    "name", ["random_vit_tiny_112", "random_resnet18_112", "pixels_7", "pixels_14", "end_to_end_cnn"]
)
def test_shipped_encoders_keep_every_promise(name: str) -> None:
    spec = ENCODERS[name]
    encoder = load_timm(spec) if name.startswith("random") else load_baseline(spec)
    assert [f"{verdict.name}: {verdict.problem}" for verdict in check_encoder(encoder) if verdict.problem] == []


class Grid(nn.Module):
    """A sound encoder: mean colours of 8 x 8 cells through a fixed linear map."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight)
        self.norm = nn.BatchNorm2d(6)

    def grid(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        return torch.einsum("oc,bchw->bohw", self.weight, nn.functional.adaptive_avg_pool2d(pixels, 8))

    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images)


class Flipped(Grid):
    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images.flip(1))


class Grey(Grid):
    def forward(self, images: Tensor) -> Tensor:
        grey = images.float().mean(dim=3, keepdim=True).round().to(torch.uint8)
        return self.grid(grey.expand(-1, -1, -1, 3))


class Clipped(Grid):
    """Normalises twice and clips, as if the input were in [0, 1] already."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.permute(0, 3, 1, 2).float()).clamp(0, 1)
        return nn.functional.adaptive_avg_pool2d(pixels, 8)


class Noisy(Grid):
    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images) + torch.randn(1)


class BatchDependent(Grid):
    def forward(self, images: Tensor) -> Tensor:
        grid = self.grid(images)
        return grid - grid.mean(dim=0)


class InPlace(Grid):
    def forward(self, images: Tensor) -> Tensor:
        result = self.grid(images)
        images.zero_()
        return result


class Blind(Grid):
    def forward(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 4)


class Infinite(Grid):
    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images).log()


class Half(Grid):
    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images)[: len(images) // 2]


class Counting(Grid):
    """Keeps statistics of what it has seen, as a BatchNorm in train mode does."""

    def forward(self, images: Tensor) -> Tensor:
        running = self.norm.running_mean
        assert running is not None
        running += 1
        return self.grid(images)


class OrderDependent(Grid):
    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images) + torch.arange(len(images)).view(-1, 1, 1, 1)


def in_double_precision(images: Tensor) -> Features:
    return Features(grid=Grid().grid(images).double())


def custom(function: Callable[[Tensor], object], outputs: tuple[FeatureField, ...] = ("grid",)) -> CustomEncoder:
    spec = EncoderSpec(
        name="mine", entry_point="", objective="", outputs=outputs, options={"reference": f"{__name__}:mine"}
    )
    return CustomEncoder(spec, function)


def test_a_sound_encoder_of_ones_own_passes() -> None:
    assert broken(custom(Grid())) == set()


@pytest.mark.parametrize(
    ("module", "outputs", "promise"),
    [
        (Flipped, ("grid",), "the image is not flipped"),
        (Grey, ("grid",), "red and blue are distinguished"),
        (Clipped, ("grid",), "brightness over the whole range matters"),
        (Noisy, ("grid",), "the same image gives the same features"),
        (BatchDependent, ("grid",), "an image's features do not depend on its companions or its place in the batch"),
        (OrderDependent, ("grid",), "an image's features do not depend on its companions or its place in the batch"),
        (InPlace, ("grid",), "the input is left as it is"),
        (Blind, ("pooled",), "features depend on the image"),
        (Infinite, ("grid",), "features are finite"),
        (Half, ("grid",), "features have the declared fields"),
        (Grid, ("class_token",), "features have the declared fields"),
        (Counting, ("grid",), "the network is frozen"),
    ],
)
def test_each_fault_is_named(module: type[Grid], outputs: tuple[FeatureField, ...], promise: str) -> None:
    assert promise in broken(custom(module(), outputs))


def problem(encoder: Encoder, promise: str) -> str:
    return next(verdict.problem for verdict in check_encoder(encoder) if verdict.name.startswith(promise))


def test_features_of_another_dtype_are_found() -> None:
    assert "grid is torch.float64, expected float32" in problem(
        custom(in_double_precision), "features have the declared fields"
    )


class Fourteen(Grid):
    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1] == 56, "only 56 pixels"
        return self.grid(images)


class Confused(Grid):
    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise KeyError("second batch")
        return self.grid(images)


def test_an_encoder_is_checked_at_a_size_that_it_takes() -> None:
    verdicts = check_encoder(custom(Fourteen()), 56)
    assert [verdict.problem for verdict in verdicts if verdict.problem] == []


def test_problems_are_sentences_even_where_code_fails_with_a_bare_word() -> None:
    problems = [verdict.problem for verdict in check_encoder(custom(Confused())) if verdict.problem]
    assert problems
    for text in problems:
        assert re.fullmatch(r"It raised KeyError: 'second batch' \(test_checks\.py, line \d+\)\.", text)
    for kind in (Blind, Counting, Half, InPlace, Noisy):
        for verdict in check_encoder(custom(kind())):
            assert not verdict.problem or re.fullmatch(r"[A-Z].* .* .*\.", verdict.problem), verdict


def test_train_mode_and_gradients_are_found() -> None:
    network = Grid()
    encoder = custom(network)
    network.train()
    assert "train mode" in problem(encoder, "the network is frozen")
    network.eval().requires_grad_(requires_grad=True)
    assert "requires a gradient" in problem(encoder, "the network is frozen")
    assert "norm.running_mean" in problem(custom(Counting()), "the network is frozen")


class Pictured:
    """A small network with its own preprocessing, which the faults below change."""

    digest = ""

    def __init__(self, **columns: Any) -> None:
        values: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), **columns}
        self.spec = EncoderSpec(
            name="pictured", entry_point="", objective="", outputs=("pooled",), image_size=64, **values
        )
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.Tanh(), nn.Flatten())
        self.network.eval().requires_grad_(requires_grad=False)

    def checked(self, images: Tensor) -> None:
        check_images(images, self.spec.name)

    def shown(self, images: Tensor) -> Tensor:
        return preprocess(images, self.spec)

    @torch.no_grad()
    def encode(self, inputs: Tensor) -> Features:
        self.checked(inputs)
        return Features(pooled=self.network(self.shown(inputs)))

    def to(self, device: str) -> Pictured:
        self.network.to(device)
        return self


class NormalisedTwice(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.spec.mean, self.spec.std))
        return (super().shown(images) - mean) / std


class ScaledTwice(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.spec.mean, self.spec.std))
        return (nn.functional.interpolate(pixels, (64, 64)) / 255 - mean) / std


class NotNormalised(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(images.permute(0, 3, 1, 2).float() / 255, (64, 64))


class NotScaled(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(images.permute(0, 3, 1, 2).float(), (64, 64))


class OtherwiseNormalised(NotNormalised):
    def shown(self, images: Tensor) -> Tensor:
        return super().shown(images) * 2 - 1


class Bgr(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        return super().shown(images.flip(-1))


class UpsideDown(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        return super().shown(images.flip(1))


class Mirrored(Pictured):
    def shown(self, images: Tensor) -> Tensor:
        return super().shown(images.flip(2))


class TakesFloats(NotNormalised):
    def checked(self, images: Tensor) -> None:
        pass


class TakesChannels(Pictured):
    def checked(self, images: Tensor) -> None:
        check_images(images[..., :3], self.spec.name)

    def shown(self, images: Tensor) -> Tensor:
        return super().shown(images[..., :3])


def test_a_sound_network_with_preprocessing_passes() -> None:
    assert broken(Pictured()) == set()


@pytest.mark.parametrize(
    ("kind", "promise", "found"),
    [
        (NormalisedTwice, "images are normalised once", "normalised twice"),
        (ScaledTwice, "images are normalised once", "scaled twice"),
        (NotNormalised, "images are normalised once", "not normalised: black is 0, white 1 for the network"),
        (NotScaled, "images are normalised once", "not scaled: black is 0, white 255"),
        (OtherwiseNormalised, "images are normalised once", "normalised otherwise: black is -1, white 1"),
        (Bgr, "red and blue", "BGR order"),
        (UpsideDown, "the image is not flipped", "The network is shown the image upside down"),
        (Mirrored, "the image is not flipped", "The network is shown the image mirrored"),
        (TakesFloats, "float images are refused", "taken without complaint"),
        (TakesChannels, "images of other than three channels", "11 channels are taken without complaint"),
    ],
)
def test_faulty_preprocessing_is_named_even_where_features_are_a_vector(
    kind: type[Pictured], promise: str, found: str
) -> None:
    assert found in problem(kind(), promise)


@pytest.mark.gpu
def test_images_on_the_cpu_are_taken_by_a_network_on_the_gpu() -> None:
    promise = "images are taken from the CPU"
    assert broken(load_timm(ENCODERS["random_resnet18_112"]).to("cuda")) == set()
    assert "RuntimeError" in problem(Pictured().to("cuda"), promise)


def test_costs_are_measured() -> None:
    encoder = Pictured()
    assert num_params(encoder) == 8 * 3 * 64 + 8
    # 64 patches, 8 channels, 3 * 64 products and sums each.
    assert flops_per_frame(encoder) == 64 * 8 * 3 * 64 * 2
    cost = measure(encoder, 8)
    assert cost is not None
    assert cost.ms_alone > cost.ms_in_tile > 0
    # At the peak at least the normalised tile and the parameters are there, and not all that was ever made.
    normalised = 8 * 3 * 64 * 64 * 4
    assert normalised + num_params(encoder) * 4 < cost.peak_bytes < 4 * normalised
    assert measure(load_baseline(ENCODERS["oracle"]), 8) is None


def test_the_command_shows_verdicts_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-encoder", "random_resnet18_64"]) == 0
    output = capsys.readouterr().out
    assert "BROKEN" not in output
    assert "11.18 million parameters" in output
    assert "ms for a frame alone" in output
    assert main(["check-encoder", "oracle"]) == 2
    assert "reads no images" in capsys.readouterr().err


def test_float_images_and_other_layouts_are_refused_by_shipped_encoders() -> None:
    encoder = load_baseline(ENCODERS["pixels_7"])
    with pytest.raises(TypeError, match=r"takes raw uint8 RGB in 0\.\.255 and was given a torch\.float32 tensor"):
        encoder.encode(torch.zeros(1, 8, 8, 3))
    with pytest.raises(TypeError, match="takes images of shape B H W 3"):
        encoder.encode(torch.zeros(1, 11, 8, 8, dtype=torch.uint8))


def test_pixels_are_averages_of_cells() -> None:
    image = torch.zeros(1, 14, 14, 3, dtype=torch.uint8)
    image[0, :7, :7, 0] = 255
    features = load_baseline(ENCODERS["pixels_7"]).encode(image)
    assert isinstance(features, Features)
    assert features.grid is not None
    assert features.grid[0, 0, 0, 0] == 1
    assert float(features.grid[0, 0].sum()) == pytest.approx(12.25)
    assert float(features.grid[0, 1:].sum()) == 0


def test_untrained_networks_are_drawn_from_their_seed_alone() -> None:
    torch.manual_seed(1)
    first = load_timm(ENCODERS["random_resnet18_112"])
    torch.manual_seed(2)
    assert load_timm(ENCODERS["random_resnet18_112"]).digest == first.digest
