"""Segmentation without training: what is in the features is found, and attention is read as the network computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.benchmark.catalog import encoders
from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.benchmark.probes.segmentation import assigned, classes_of, cluster, kept
from pvrbench.encoders.attention import class_token_attention
from pvrbench.envs.pictures.geometry import ROBOT, STATIC


@pytest.fixture
def masks() -> np.ndarray[tuple[int, int, int], np.dtype[np.int64]]:
    """Four pictures with a robot above and a small object below, in several places."""
    found = np.zeros((4, 56, 56), np.int64)
    for number in range(4):
        found[number, :24, 8 + 4 * number : 32 + 4 * number] = 1
        found[number, 40:48, 8 * number : 8 * number + 16] = 2
    return found


def test_features_that_know_the_masks_find_them(masks: np.ndarray[tuple[int, int, int], np.dtype[np.int64]]) -> None:
    known = functional.one_hot(torch.from_numpy(masks[:, 2::4, 2::4]), 3).float().permute(0, 3, 1, 2)
    noise = 0.05 * torch.randn(4, 16, 14, 14, generator=torch.Generator().manual_seed(0))
    found = assigned(cluster(torch.cat([known, noise], dim=1), 3, 56), masks, 3)
    for kind in range(3):
        assert ((found == kind) & (masks == kind)).sum() / ((found == kind) | (masks == kind)).sum() > 0.8


def test_clusters_without_a_class_are_background() -> None:
    masks = np.zeros((1, 4, 4), np.int64)
    masks[0, 0, 0], masks[0, 3] = 2, 1
    clusters = masks.copy()
    clusters[0, 2] = 3
    assert np.array_equal(assigned(clusters, masks, 5), masks)


def test_classes_of_kinds() -> None:
    assert classes_of(np.array([[STATIC, ROBOT, 7, 33]])).tolist() == [[0, 1, 2, 2]]


def test_the_mass_is_held_by_the_fewest_patches() -> None:
    attention = torch.tensor([[[0.5, 0.2], [0.2, 0.1]]])
    assert kept(attention, 0.6).sum() == 2
    assert kept(attention, 0.4).tolist() == [[[True, False], [False, False]]]


def test_attention_is_what_the_network_computes() -> None:
    """The class token's output of the last attention, put together from the maps, is the network's own."""
    encoder = load_encoder(encoders()["random_vit_tiny_112"])
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network: Any = getattr(encoder, "network", None)
    attention: Any = network.blocks[-1].attn
    seen: dict[str, Tensor] = {}

    def keep(_module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        seen.update(given=given[0], result=result)

    hook: Any = attention.register_forward_hook(keep)
    maps = class_token_attention(encoder, images)
    hook.remove()
    assert maps is not None
    assert maps.shape[2:] == (7, 7)
    total = maps.sum(dim=(2, 3))
    assert ((total > 0.5) & (total < 1)).all()
    joined: Tensor = attention.qkv(seen["given"]).reshape(2, 50, 3, attention.num_heads, -1)
    value = joined[:, :, 2].transpose(1, 2)
    weights = torch.cat([1 - total[:, :, None], maps.flatten(2)], dim=2)
    out: Tensor = attention.proj((weights[:, :, None] @ value).squeeze(2).flatten(1))
    torch.testing.assert_close(out, seen["result"][:, 0], atol=1e-4, rtol=1e-4)


def test_encoders_of_another_kind_have_none() -> None:
    images = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    assert class_token_attention(load_encoder(encoders()["pixels_7"]), images) is None
