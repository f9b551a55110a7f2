"""Which frames an update sees: a function of the seed and the number of the update, and of nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Int

from pvrbench.encoders.zoo.pretraining.base import Array, Batch, PretrainingFrames
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import Vocabulary

# R3M draws the first and the last frame from this share of a clip at either end.
_ENDS = 0.2


def seed_of(*parts: object) -> int:
    """A seed that any difference in the parts changes; a counter among them makes a counter-based generator."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) >> 1


def split_clips(num_clips: int, share: float) -> tuple[Int[Array, " A"], Int[Array, " B"]]:
    """Numbers of the clips that are trained on and that are held out, the same for every objective and seed."""
    order = np.random.default_rng(0).permutation(num_clips)
    num_held_out = min(num_clips - 1, max(1, round(share * num_clips)))
    return np.sort(order[num_held_out:]), np.sort(order[:num_held_out])


class BatchSource:
    """Batches of one split.

    Args:
        frames: the frames.
        clips: numbers of the clips of the split.
        spec: the objective.
        vocabulary: the words of the captions.
        stream: name of the split; splits draw from different streams.
        device: where batches go.
    """

    def __init__(
        self,
        frames: PretrainingFrames,
        clips: Int[Array, " A"],
        spec: ObjectiveSpec,
        vocabulary: Vocabulary,
        stream: str,
        device: str,
    ) -> None:
        self._frames, self._clips, self._spec, self._stream, self._device = frames, clips, spec, stream, device
        spans = [(int(frames.clip_starts[clip]), int(frames.clip_lengths[clip])) for clip in clips]
        self._index: Array = np.concatenate([np.arange(start, start + length) for start, length in spans])
        self._clip_of: Array = np.repeat(clips, frames.clip_lengths[clips])
        self._tokens = vocabulary.encode(frames.captions)
        self._caption_numbers = torch.from_numpy(np.unique(np.asarray(frames.captions), return_inverse=True)[1])
        self._permutation: tuple[int, Array] = (-1, self._index)

    def __len__(self) -> int:
        return len(self._index)

    def batch(self, step: int, phase: str = "", progress: float = 0.0) -> Batch:
        """The batch of one update; the same whatever was drawn before."""
        seed = self._spec.recipe.seed
        places, clips = self._quintets(step) if self._spec.sampling == "quintets" else self._singles(step)
        chosen = torch.from_numpy(clips)
        images = torch.from_numpy(np.ascontiguousarray(self._frames.images[places]))
        return Batch(
            images=images.to(self._device),
            tokens=self._tokens[chosen].to(self._device),
            caption_index=self._caption_numbers[chosen].to(self._device),
            generator=torch.Generator().manual_seed(seed_of(seed, self._stream, "step", step)),
            progress=progress,
            phase=phase,
        )

    def _singles(self, step: int) -> tuple[Int[Array, "B 1"], Int[Array, " B"]]:
        """The next frames of an endless row of shuffled epochs."""
        size = self._spec.recipe.batch_size
        places: list[int] = []
        for position in range(step * size, (step + 1) * size):
            epoch, offset = divmod(position, len(self._index))
            places.append(int(self._order(epoch)[offset]))
        rows = np.asarray(places)
        return self._index[rows][:, None], self._clip_of[rows]

    def _order(self, epoch: int) -> Int[Array, " N"]:
        if self._permutation[0] != epoch:
            draw = np.random.default_rng(seed_of(self._spec.recipe.seed, self._stream, "epoch", epoch))
            self._permutation = (epoch, draw.permutation(len(self._index)))
        return self._permutation[1]

    def _quintets(self, step: int) -> tuple[Int[Array, "B 5"], Int[Array, " B"]]:
        """An early, a late and three ordered frames of a random clip each.

        Source: Nair et al. 2022, R3M, arXiv:2203.12601 (`r3m/utils/data_loaders.py`): the third of the ordered frames
        may be the second one.
        """
        draw = np.random.default_rng(seed_of(self._spec.recipe.seed, self._stream, "quintets", step))
        clips = self._clips[draw.integers(0, len(self._clips), self._spec.recipe.batch_size)]
        lengths = self._frames.clip_lengths[clips]
        early = draw.integers(0, 1 + (_ENDS * lengths).astype(np.int64))
        late = draw.integers(np.maximum(0, ((1 - _ENDS) * lengths).astype(np.int64) - 1), lengths)
        middle = draw.integers(1, lengths - 1)
        before, after = draw.integers(0, middle), draw.integers(middle, lengths)
        rows = np.stack([early, late, before, middle, after], axis=1)
        return self._frames.clip_starts[clips][:, None] + rows, clips
