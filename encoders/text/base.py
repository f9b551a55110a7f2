"""The contract of a text encoder: texts in, one embedding each out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from pvrbench.common.reference import resolve
from pvrbench.encoders.text.spec import TextEncoderSpec

Meanings = Sequence[Sequence[str]]
"""For each task that a policy learns, in order, the wordings that mean it."""


@runtime_checkable
class TextEncoder(Protocol):
    """A frozen map from texts to vectors. A text's embedding does not depend on the other texts."""

    @property
    def digest(self) -> str:
        """Digest of what determines the embeddings: weights and options."""
        ...

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "B L"]:
        """One embedding for each text.

        Raises:
            ValueError: a text cannot be embedded.
        """
        ...


def load_text_encoder(spec: TextEncoderSpec, meanings: Meanings) -> TextEncoder:
    """Makes a text encoder from its row.

    Args:
        spec: the row.
        meanings: the wordings of each task that a policy learns.

    Raises:
        WeightsError: its weights are not on this machine.
    """
    return cast("Callable[[TextEncoderSpec, Meanings], TextEncoder]", resolve(spec.entry_point))(spec, meanings)
