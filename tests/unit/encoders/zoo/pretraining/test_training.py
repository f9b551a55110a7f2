"""Every objective learns, repeats itself, goes on after an interruption, and says what is wrong."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from pvrbench.encoders.zoo.pretraining import checkpoint
from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames, check_frames
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.sampling import BatchSource, split_clips
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec, PretrainingError
from pvrbench.encoders.zoo.pretraining.text import Vocabulary
from pvrbench.encoders.zoo.pretraining.training import Trained, build_objective, pretrain

MakeSpec = Callable[..., ObjectiveSpec]
MakeFrames = Callable[..., PretrainingFrames]

# Updates, and the learning rate, with which a tiny network is below the trivial answer.
ENOUGH = {
    "mae": (100, 3e-3),
    "vcond": (150, 3e-3),
    "simclr": (100, 2e-3),
    "clip": (40, 3e-3),
    "dino": (100, 1e-3),
    "r3m": (40, 3e-3),
    "dift": (100, 1e-2),
}


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.objective.state_dict()


def differing(first: Trained, second: Trained) -> list[str]:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_the_loss_falls_below_the_trivial_answer(
    name: str, frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path
) -> None:
    num_steps, lr = ENOUGH[name]
    spec = make_spec(name, num_steps=num_steps)
    phases = tuple(dataclasses.replace(phase, lr=lr) for phase in spec.recipe.phases)
    spec = dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, phases=phases))
    trained = pretrain(spec, frames, tmp_path)
    for loss, value in trained.trivial.items():
        assert trained.held_out[loss] < value, (loss, trained.held_out, trained.trivial)
    assert trained.frames_seen == spec.recipe.num_samples
    assert trained.flops > 0
    if name == "dino":
        # Outputs that are sharp one by one and differ from frame to frame: neither way of collapsing.
        assert trained.held_out["teacher_entropy"] < trained.held_out["mean_entropy"] - 0.2


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_an_interrupted_training_goes_on_to_the_same_weights(
    name: str, frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(name, num_steps=6, checkpoint_every=2, log_every=1)
    whole = pretrain(spec, frames, tmp_path / "whole")
    lines = len(whole.log)

    def stop(done: int, total: int, loss: float) -> None:
        del total, loss
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(spec, frames, tmp_path / "cut", on_progress=stop)
    resumed = pretrain(spec, frames, tmp_path / "cut")
    assert differing(whole, resumed) == []
    assert [line["step"] for line in resumed.log] == list(range(1, 7))
    assert len(resumed.log) == lines
    assert (resumed.flops, resumed.held_out) == (whole.flops, whole.held_out)
    assert resumed.wall_clock_s > 0


def test_the_same_seed_gives_the_same_weights(frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path) -> None:
    first, second = (pretrain(make_spec("mae"), frames, tmp_path / name) for name in ("first", "second"))
    other = pretrain(make_spec("mae", seed=1), frames, tmp_path / "other")
    assert differing(first, second) == []
    assert "backbone.blocks.0.attn.qkv.weight" in differing(first, other)


def test_training_leaves_the_global_generator_alone(
    frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain(make_spec("dino", num_steps=2), frames, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_other_settings_are_refused_by_name(frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path) -> None:
    pretrain(make_spec("mae", num_steps=2), frames, tmp_path)
    with pytest.raises(PretrainingError, match=r"begun with weight_decay=0\.05, and weight_decay=0\.1 is asked now"):
        pretrain(make_spec("mae", num_steps=2, weight_decay=0.1), frames, tmp_path)
    with pytest.raises(PretrainingError, match='frames="synthetic", and frames="other" is asked now'):
        pretrain(make_spec("mae", num_steps=2), dataclasses.replace(frames, digest="other"), tmp_path)


def test_a_loss_that_is_not_finite_ends_the_training(
    frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec("mae", num_steps=40, log_every=1)
    phases = (dataclasses.replace(spec.recipe.phases[0], lr=1e30),)
    spec = dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, phases=phases, warmup=0.0))
    with pytest.raises(PretrainingError, match=r"loss of 'mae' is not finite at update \d+.*try a smaller lr"):
        pretrain(spec, frames, tmp_path)


def test_a_full_disk_keeps_the_last_checkpoint(
    frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("mae", num_steps=4, checkpoint_every=2)
    flush, calls = checkpoint.os.fsync, [0]

    def fails_later(handle: int) -> None:
        calls[0] += 1
        # The log is written first, then the two checkpoints.
        if calls[0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", fails_later)
    with pytest.raises(PretrainingError, match=r"disk of .* is full: checkpoint\.pt .* make room and give the same"):
        pretrain(spec, frames, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    monkeypatch.undo()
    resumed = pretrain(spec, frames, tmp_path)
    assert differing(resumed, pretrain(spec, frames, tmp_path / "whole")) == []


def test_damaged_checkpoints_are_named(frames: PretrainingFrames, make_spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(PretrainingError, match=r"checkpoint\.pt is damaged.*Remove it to start anew"):
        pretrain(make_spec("mae"), frames, tmp_path)


def test_frames_that_do_not_fit_are_refused(make_frames: MakeFrames, make_spec: MakeSpec) -> None:
    frames = make_frames()
    mae, clip, r3m = (make_spec(name) for name in ("mae", "clip", "r3m"))
    empty = dataclasses.replace(frames, images=frames.images[:0])
    with pytest.raises(PretrainingError, match="The frame set is empty"):
        check_frames(empty, mae)
    with pytest.raises(PretrainingError, match=r"shape \(16, 16, 3\), expected uint8 of \(32, 32, 3\)"):
        check_frames(make_frames(side=16), mae)
    with pytest.raises(PretrainingError, match="reads captions, and 1 of 12 clips have none"):
        check_frames(dataclasses.replace(frames, captions=("", *frames.captions[1:])), clip)
    with pytest.raises(PretrainingError, match="all clips have the same"):
        check_frames(dataclasses.replace(frames, captions=("push",) * 12), clip)
    check_frames(dataclasses.replace(frames, captions=("",) * 12), mae)
    with pytest.raises(PretrainingError, match="the shortest clip has 2"):
        check_frames(dataclasses.replace(frames, clip_lengths=np.full(12, 2)), r3m)
    with pytest.raises(PretrainingError, match="The clips reach to frame 97 of 96"):
        check_frames(dataclasses.replace(frames, clip_starts=frames.clip_starts + 1), mae)
    with pytest.raises(PretrainingError, match="one clip, and one is held out"):
        check_frames(make_frames(num_clips=1), mae)


def test_held_out_clips_are_never_trained_on(frames: PretrainingFrames, make_spec: MakeSpec) -> None:
    train, held_out = split_clips(12, 0.25)
    assert sorted([*train, *held_out]) == list(range(12))
    assert len(held_out) == 3
    numbered = dataclasses.replace(frames, images=frames.images.copy())
    numbered.images[:, 0, 0, 0] = np.arange(96) // 8
    for name in ("mae", "r3m"):
        source = BatchSource(numbered, train, make_spec(name), Vocabulary(frames.captions), "train", "cpu")
        seen = torch.cat([source.batch(step).images[..., 0, 0, 0].flatten() for step in range(30)])
        assert cast("list[int]", seen.unique().tolist()) == cast("list[int]", train.tolist())


def test_an_epoch_shows_every_frame_once(frames: PretrainingFrames, make_spec: MakeSpec) -> None:
    numbered = dataclasses.replace(frames, images=frames.images.copy())
    numbered.images[:, 0, 0, 0] = np.arange(96)
    train, _ = split_clips(12, 0.25)
    source = BatchSource(numbered, train, make_spec("mae", batch_size=24), Vocabulary([]), "train", "cpu")
    first = torch.cat([source.batch(step).images[:, 0, 0, 0, 0] for step in range(3)])
    assert len(set(cast("list[int]", first.tolist()))) == 72 == len(source)
    assert torch.equal(source.batch(1).images, source.batch(1).images)


def test_quintets_are_in_order(frames: PretrainingFrames, make_spec: MakeSpec) -> None:
    numbered = dataclasses.replace(frames, images=frames.images.copy())
    numbered.images[:, 0, 0, 0] = np.arange(96)
    train, _ = split_clips(12, 0.25)
    source = BatchSource(numbered, train, make_spec("r3m", batch_size=300), Vocabulary([]), "train", "cpu")
    places = source.batch(0).images[..., 0, 0, 0].long()
    assert torch.equal(places // 8, (places // 8)[:, :1].expand(-1, 5))
    early, late, before, middle, after = (places % 8).unbind(dim=1)
    assert early.max() == 1
    assert late.min() == 5
    assert ((before < middle) & (middle <= after)).all()


def test_budgets_are_equal_in_frames() -> None:
    for spec in OBJECTIVES.values():
        seen = spec.num_steps * spec.recipe.batch_size * spec.frames_per_item
        assert abs(seen - spec.recipe.num_samples) < spec.recipe.batch_size * spec.frames_per_item, spec.name
        assert sum(spec.phase_steps()) == spec.num_steps


def test_networks_have_the_promised_size() -> None:
    for spec in OBJECTIVES.values():
        size = sum(value.numel() for value in build_objective(spec, Vocabulary(["a b"])).export().values())
        assert 2_600_000 < size < (5_000_000 if spec.name == "dift" else 2_900_000), spec.name
