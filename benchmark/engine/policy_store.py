"""Trained policies of a run, kept by the digest of what they were trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from pvrbench.benchmark.records.keys import Cell
from pvrbench.encoders.readouts.base import Readout
from pvrbench.policies.base import Policy
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.storage import PolicyFileError, load_policy, read_about, save_policy


class PolicyStoreError(RuntimeError):
    """A policy is not stored, or cannot be stored; the text says what to do."""


class PolicyStore:
    """The policies of one run.

    Args:
        folder: where they lie: `<digest>.safetensors` and `<digest>.json` for each.
        say: hears of files that are not sound.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say

    def save(
        self, name: str, policy: Policy, cell: Cell, feature_shape: tuple[int, ...], budget_dim: int | None
    ) -> None:
        """Stores a policy.

        Args:
            name: digest of what it was trained on.
            policy: the policy.
            cell: for which it was trained.
            feature_shape: shape of one row of what its trained readout reads.
            budget_dim: common width of features, if any.

        Raises:
            PolicyStoreError: the folder cannot be written.
        """
        about = {
            "train": cell.train.model_dump(mode="json"),
            "feature_shape": list(feature_shape),
            "budget_dim": budget_dim,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_policy(policy, self.folder, name, about)
        except OSError as error:
            raise PolicyStoreError(
                f"Cannot write the policy {self.folder / name}: {error.strerror}. Free space, or leave policies out "
                "with engine.keep_policies=false."
            ) from error

    def load(self, name: str, head: HeadSpec, readout: Readout, *, is_needed: bool) -> Policy | None:
        """A stored policy, which acts as when it was trained, to the last bit; None where there is none.

        Args:
            name: digest of what it was trained on.
            head: its head.
            readout: its readout.
            is_needed: whether files that are not sound are an error. Else they are told and the policy counts as not
                stored: it is trained again and its files are replaced.

        Raises:
            PolicyFileError: the files are not sound, or hold another head.
        """
        if not (self.folder / f"{name}.json").exists():
            return None
        try:
            about = read_about(self.folder, name)
            shape = tuple(cast("list[int]", about["feature_shape"]))
            module = readout.empty(shape, cast("int | None", about["budget_dim"]))
            return load_policy(self.folder, name, head, module)
        except PolicyFileError as error:
            if is_needed:
                raise
            self._say(f"warning: a stored policy is not sound and is trained again: {error}")
            return None
