"""Instructed policies: embeddings of what they are told, and readouts that an instruction conditions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pvrbench.benchmark.plan import Job, Lesson
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.common.code import code_digest
from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import Readout
from pvrbench.encoders.text.base import Meanings, TextEncoder, load_text_encoder
from pvrbench.encoders.text.spec import TextEncoderSpec
from pvrbench.envs.instructed import instruction_of
from pvrbench.policies.conditioning import Film, joined

FILM = "film"

_loaded: dict[str, TextEncoder] = {}


@dataclass(frozen=True, slots=True)
class Told:
    """Embeddings of the instructions of a job.

    Attributes:
        trained: those of the training, by task.
        now: that of the rollouts.
        is_joined: whether the trained readout reads them, joined to the features; else the head does.
    """

    trained: Float[Tensor, "K L"]
    now: Float[Tensor, " L"]
    is_joined: bool

    def beside(
        self, features: Float[Tensor, "B ..."], instructions: Float[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B L"] | None]:
        """Features and instruction of some rows as the policy takes them."""
        return (joined(features, instructions), None) if self.is_joined else (features, instructions)


def told_of(job: Job) -> Told | None:
    """What the policies of a job are told; None where they are told nothing.

    Raises:
        WeightsError: the text encoder's weights are not on this machine.
    """
    spec = job.lesson.text_encoder
    if spec is None:
        return None
    encoder = _encoder(spec, job.lesson)
    texts = [instruction_of(task).text for task in job.lesson.tasks]
    now = encoder.encode([job.cells[0].instruction])[0]
    return Told(encoder.encode(texts), now, job.lesson.conditioning == FILM)


def text_digest(lesson: Lesson) -> str:
    """Digest of a text encoder and of the instructions of the training; empty where there are none."""
    spec = lesson.text_encoder
    if spec is None:
        return ""
    module, _, name = spec.entry_point.partition(":")
    texts = [instruction_of(task).text for task in lesson.tasks]
    return digest_of([name, code_digest([module]), _encoder(spec, lesson).digest, texts])


def conditioned(readout: Readout, job: Job) -> Readout:
    """A readout as instructed policies have it."""
    told = told_of(job)
    return readout if told is None or not told.is_joined else InstructedReadout(readout, told.trained.shape[1])


class InstructedReadout:
    """A readout with FiLM behind it; its module reads features joined to the instruction.

    Args:
        readout: the readout.
        instruction_dim: width of the embedding.
    """

    def __init__(self, readout: Readout, instruction_dim: int) -> None:
        self.spec = readout.spec
        self._readout, self._instruction_dim = readout, instruction_dim

    def read(self, features: Features) -> Float[Tensor, "B ..."]:
        """The frozen stage, see `Readout`."""
        return self._readout.read(features)

    def fit(self, train_features: Float[Tensor, "T ..."], seed: int, budget_dim: int | None) -> nn.Module:
        """The readout's own module, then FiLM; from features that are not joined."""
        inner = self._readout.fit(train_features, seed, budget_dim)
        film = Film(inner, tuple(train_features.shape[1:]), self._instruction_dim)
        film.fit_scaling(train_features)
        return film

    def empty(self, feature_shape: tuple[int, ...], budget_dim: int | None) -> nn.Module:
        """A module of the same architecture, to be filled."""
        return Film(self._readout.empty(feature_shape, budget_dim), feature_shape, self._instruction_dim)


def _encoder(spec: TextEncoderSpec, lesson: Lesson) -> TextEncoder:
    instructions = [instruction_of(task) for task in lesson.tasks]
    meanings: Meanings = [(each.text, *each.paraphrases) for each in instructions]
    key = repr((spec, meanings))
    if key not in _loaded:
        with torch.random.fork_rng(devices=[]):
            _loaded[key] = load_text_encoder(spec, meanings)
    return _loaded[key]
