"""Controls: an embedding that says everything, and one that says nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pvrbench.encoders.text.base import Meanings
from pvrbench.encoders.text.spec import TextEncoderSpec


class OneHot:
    """The number of the task that a wording means: what a perfect understanding of language would give.

    Args:
        spec: the row.
        meanings: the wordings of each task.
    """

    def __init__(self, spec: TextEncoderSpec, meanings: Meanings) -> None:
        self._spec = spec
        self._index = {text: index for index, texts in enumerate(meanings) for text in texts}
        self._count = len(meanings)

    @property
    def digest(self) -> str:
        """Of the wordings by task."""
        return f"one_hot {sorted(self._index.items())}"

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "B L"]:
        """A one at the task's place.

        Raises:
            ValueError: a text is no wording of a task.
        """
        for text in texts:
            if text not in self._index:
                raise ValueError(
                    f"Text encoder {self._spec.name!r} knows the wordings of its tasks alone, and {text!r} is none. "
                    "Use a text encoder that reads words."
                )
        return torch.eye(self._count)[[self._index[text] for text in texts]]


class Constant:
    """The same for every text: a policy that is blind for language."""

    def __init__(self, spec: TextEncoderSpec, meanings: Meanings) -> None:
        del spec, meanings

    @property
    def digest(self) -> str:
        """There is only one such encoder."""
        return "constant"

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "B L"]:
        """A single one."""
        return torch.ones(len(texts), 1)
