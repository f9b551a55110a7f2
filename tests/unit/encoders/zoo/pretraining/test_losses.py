"""Losses and masks against forms written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pvrbench.encoders.zoo.pretraining.augmentation import ColourSettings, CropSettings, jitter_colours, random_crop
from pvrbench.encoders.zoo.pretraining.contrastive import caption_contrast, nt_xent
from pvrbench.encoders.zoo.pretraining.distillation import STUDENT_TEMPERATURE, dino_loss
from pvrbench.encoders.zoo.pretraining.masked import normalised_patches, patchify, random_mask, unpatchify
from pvrbench.encoders.zoo.pretraining.text import END, PAD, START, UNKNOWN, TextTransformer, Vocabulary
from pvrbench.encoders.zoo.pretraining.time_contrastive import choice_loss, similarity, time_loss


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_quarter_of_the_patches_is_visible_in_every_picture() -> None:
    visible, is_masked = random_mask(500, 49, 12, seeded())
    assert visible.shape == (500, 12)
    assert is_masked.sum(dim=1).unique().tolist() == [37]
    assert not is_masked.gather(1, visible).any()
    # Every patch is visible equally often: 12 of 49, within four standard deviations.
    share = (~is_masked).float().mean(dim=0)
    assert (share - 12 / 49).abs().max() < 4 * math.sqrt(12 / 49 * 37 / 49 / 500)


def test_patches_are_cut_and_put_together_again() -> None:
    pixels = torch.rand(2, 3, 32, 32, generator=seeded())
    patches = patchify(pixels, 8)
    assert patches.shape == (2, 16, 192)
    assert torch.equal(patches[0, 1].reshape(8, 8, 3), pixels[0, :, :8, 8:16].permute(1, 2, 0))
    assert torch.equal(unpatchify(patches, 8), pixels)


def test_targets_have_mean_zero_and_deviation_one() -> None:
    target = normalised_patches(torch.rand(2, 3, 32, 32, generator=seeded()), 8)
    assert target.mean(dim=-1).abs().max() < 1e-5
    assert torch.allclose(target.var(dim=-1), torch.ones(2, 16), atol=1e-3)


def test_nt_xent_is_the_papers_equation() -> None:
    first, second = torch.randn(2, 3, 5, generator=seeded()).unbind()
    views = torch.cat([first, second])
    cosines = torch.nn.functional.cosine_similarity(views[:, None], views[None], dim=-1)
    total = 0.0
    for i in range(6):
        j = (i + 3) % 6
        others = sum(math.exp(float(cosines[i, k]) / 0.3) for k in range(6) if k != i)
        total += -math.log(math.exp(float(cosines[i, j]) / 0.3) / others)
    assert float(nt_xent(first, second, 0.3)) == pytest.approx(total / 6, abs=1e-5)


def test_nt_xent_of_equal_features_is_the_logarithm_of_the_candidates() -> None:
    same = torch.ones(4, 3)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(7), abs=1e-5)


def test_pictures_with_the_same_caption_are_no_negatives() -> None:
    images = torch.eye(3)
    texts = torch.eye(3)[[0, 0, 2]]
    found = caption_contrast(images, texts, torch.tensor([7, 7, 9]), torch.tensor(2.0))
    # Picture 0 and text 0: one wrong candidate of cosine 0 both ways. Picture 1: its text and the other have cosine 0.
    # Picture 2: two wrong texts. Text 1: its picture has cosine 0, as has picture 2. Text 2: two wrong pictures.
    right, wrong = math.exp(2.0), 1.0
    by_image = [-math.log(right / (right + wrong)), math.log(2), -math.log(right / (right + 2 * wrong))]
    by_text = [-math.log(right / (right + wrong)), math.log(2), -math.log(right / (right + 2 * wrong))]
    assert float(found) == pytest.approx((sum(by_image) + sum(by_text)) / 6, abs=1e-5)


def test_dino_is_the_cross_entropy_of_different_crops() -> None:
    student = [torch.randn(2, 4, generator=seeded(seed)) for seed in range(3)]
    teacher = [torch.randn(2, 4, generator=seeded(seed)) for seed in (10, 11)]
    centre = torch.randn(1, 4, generator=seeded(20))
    terms: list[float] = []
    for place, other in ((0, 1), (0, 2), (1, 0), (1, 2)):
        target = torch.softmax((teacher[place] - centre) / 0.05, dim=1)
        log = torch.log(torch.softmax(student[other] / STUDENT_TEMPERATURE, dim=1))
        terms.append(float(-(target * log).sum(dim=1).mean()))
    assert float(dino_loss(student, teacher, centre, 0.05)) == pytest.approx(sum(terms) / 4, rel=1e-5)


def test_dino_of_a_uniform_student_is_the_logarithm_of_the_prototypes() -> None:
    uniform = [torch.zeros(2, 8)] * 3
    teacher = [torch.randn(2, 8, generator=seeded())] * 2
    assert float(dino_loss(uniform, teacher, torch.zeros(1, 8), 0.04)) == pytest.approx(math.log(8), abs=1e-5)


def test_r3m_time_loss_is_the_published_one() -> None:
    before, middle, after = torch.randn(3, 4, 2, generator=seeded()).unbind()
    shuffles = [
        (torch.tensor([1, 2, 3, 0]), torch.tensor([3, 0, 1, 2])),
        (torch.tensor([2, 3, 0, 1]), torch.tensor([2, 3, 0, 1])),
    ]

    def distance(one: torch.Tensor, other: torch.Tensor) -> float:
        return math.exp(-float((one - other).square().sum().sqrt()))

    total = 0.0
    for i in range(4):
        across, late, early = (
            distance(after[i], before[i]),
            distance(after[i], middle[i]),
            distance(middle[i], before[i]),
        )
        from_after = sum(distance(after[i], after[int(last[i])]) for _, last in shuffles)
        from_before = sum(distance(before[i], before[int(first[i])]) for first, _ in shuffles)
        total += (
            -math.log(late / (late + across + from_after)) / 2 - math.log(early / (early + across + from_before)) / 2
        )
    assert float(time_loss([before, middle, after], shuffles)) == pytest.approx(total / 4, abs=1e-5)


def test_r3m_chooses_among_five_and_equal_frames_have_a_gradient() -> None:
    zero = torch.zeros(3)
    assert choice_loss(zero, torch.zeros(3, 4)).tolist() == pytest.approx([math.log(5)] * 3, abs=1e-5)
    same = torch.ones(2, 3, requires_grad=True)
    similarity(same, torch.ones(2, 3)).sum().backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_a_whole_crop_changes_nothing_and_a_flip_mirrors() -> None:
    pixels = torch.rand(2, 3, 32, 32, generator=seeded())
    whole = CropSettings(size_px=32, scale=(1.0, 1.0), max_ratio=1.0, flip=0.0)
    assert torch.allclose(random_crop(pixels, whole, seeded()), pixels, atol=1e-5)
    mirrored = CropSettings(size_px=32, scale=(1.0, 1.0), max_ratio=1.0, flip=1.0)
    assert torch.allclose(random_crop(pixels, mirrored, seeded()), pixels.flip(3), atol=1e-5)


def test_frames_of_one_clip_are_cropped_alike() -> None:
    pixels = torch.rand(1, 3, 32, 32, generator=seeded()).repeat(6, 1, 1, 1)
    crop = CropSettings(size_px=32, scale=(0.2, 0.6))
    found = random_crop(pixels, crop, seeded(), alike=3)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_colours_stay_without_jitter_and_grey_is_grey() -> None:
    pixels = torch.rand(4, 3, 8, 8, generator=seeded())
    plain = ColourSettings(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.0, grey=0.0)
    assert torch.allclose(jitter_colours(pixels, plain, seeded()), pixels, atol=1e-4)
    grey = jitter_colours(
        pixels, ColourSettings(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=1.0), seeded()
    )
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-4)
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-4)


def test_hue_keeps_the_lightness() -> None:
    pixels = 0.3 + 0.2 * torch.rand(3, 3, 8, 8, generator=seeded())
    turned = jitter_colours(
        pixels, ColourSettings(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.1, jitter=1.0, grey=0.0), seeded()
    )
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    assert torch.allclose((turned * luma).sum(dim=1), (pixels * luma).sum(dim=1), atol=2e-3)
    assert not torch.allclose(turned, pixels, atol=1e-3)


def test_words_are_numbered_and_padding_does_not_matter() -> None:
    vocabulary = Vocabulary(["Open the drawer", "close the drawer."])
    assert vocabulary.words == ("close", "drawer", "open", "the")
    tokens = vocabulary.encode(["open the drawer", "push", ""])
    assert tokens.tolist() == [[START, 6, 7, 5, END], [START, UNKNOWN, END, PAD, PAD], [START, END, PAD, PAD, PAD]]
    for is_causal in (False, True):
        torch.manual_seed(0)
        text = TextTransformer(len(vocabulary), 8, 2, is_causal=is_causal)
        assert torch.allclose(text.last(tokens)[1], text.last(tokens[1:2, :3])[0], atol=1e-6)
        assert torch.allclose(text.mean(tokens)[1], text.mean(tokens[1:2, :3])[0], atol=1e-6)
