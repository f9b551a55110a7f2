"""Temporal fusion: the history of a step, concatenated or as differences."""

from __future__ import annotations

import torch

from pvrbench.encoders.readouts.fusion import fuse, history_indices


def test_the_first_frame_is_repeated_before_the_start() -> None:
    assert history_indices(4, 3).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]


def test_a_history_of_one_is_the_frame_itself() -> None:
    assert history_indices(3, 1).tolist() == [[0], [1], [2]]
    rows = torch.arange(6.0).reshape(2, 1, 3)
    for mode in ("concat", "flare"):
        assert torch.equal(fuse(rows, mode), rows[:, 0])


def test_flare_gives_differences_of_neighbours_then_the_last_frame() -> None:
    rows = torch.tensor([[[1.0, 10.0], [3.0, 40.0], [7.0, 20.0]]])
    assert fuse(rows, "flare").tolist() == [[2.0, 30.0, 4.0, -20.0, 7.0, 20.0]]


def test_concat_keeps_the_oldest_first() -> None:
    rows = torch.tensor([[[1.0, 10.0], [3.0, 40.0]]])
    assert fuse(rows, "concat").tolist() == [[1.0, 10.0, 3.0, 40.0]]


def test_grids_are_joined_along_the_channels() -> None:
    rows = torch.randn(2, 3, 5, 4, 4)
    assert fuse(rows, "flare").shape == (2, 15, 4, 4)
    assert torch.equal(fuse(rows, "flare")[:, 10:], rows[:, 2])
