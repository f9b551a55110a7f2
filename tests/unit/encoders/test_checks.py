"""`check_encoder` passes sound encoders and names the fault of each broken one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from encoders.base import Encoder, Features
from encoders.baseline import load as load_baseline
from encoders.catalog import ENCODERS
from encoders.checks import check_encoder
from encoders.custom import CustomEncoder
from encoders.spec import EncoderSpec, FeatureField
from encoders.timm_backbone import load as load_timm

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


def broken(encoder: Encoder) -> set[str]:
    return {verdict.name.partition(":")[0].partition(",")[0] for verdict in check_encoder(encoder) if verdict.problem}


@pytest.mark.parametrize("name", ["random_vit_tiny_112", "random_resnet18_112", "pixels_7", "pixels_14"])
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


def custom(function: Callable[[Tensor], object], outputs: tuple[FeatureField, ...] = ("grid",)) -> CustomEncoder:
    spec = EncoderSpec(
        name="mine", entry_point="", objective="", outputs=outputs, options={"reference": f"{__name__}:mine"}
    )
    encoder = CustomEncoder.__new__(CustomEncoder)
    encoder.__init__(spec, function)
    return encoder


def test_a_sound_encoder_of_ones_own_passes() -> None:
    assert broken(custom(Grid())) == set()


@pytest.mark.parametrize(
    ("module", "outputs", "promise"),
    [
        (Flipped, ("grid",), "features depend on where things are"),
        (Grey, ("grid",), "red and blue are told apart in RGB order"),
        (Clipped, ("grid",), "brightness over the whole range matters"),
        (Noisy, ("grid",), "the same image gives the same features"),
        (BatchDependent, ("grid",), "an image's features do not depend on its companions"),
        (InPlace, ("grid",), "the input is left as it is"),
        (Blind, ("pooled",), "features depend on the image"),
        (Infinite, ("grid",), "features are finite"),
        (Half, ("grid",), "features have the declared fields"),
        (Grid, ("class_token",), "features have the declared fields"),
    ],
)
def test_each_fault_is_named(module: type[Grid], outputs: tuple[FeatureField, ...], promise: str) -> None:
    assert promise in broken(custom(module(), outputs))


def test_train_mode_and_gradients_are_found() -> None:
    network = Grid()
    encoder = custom(network)
    network.train()
    assert any("train mode" in verdict.problem for verdict in check_encoder(encoder))
    network.eval().requires_grad_(requires_grad=True)
    assert any("requires a gradient" in verdict.problem for verdict in check_encoder(encoder))


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
