"""What a policy is, where it is tried, and the cell that the two make. Plain data; content hashes of JSON values."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
EvaluationSplit = Literal["selection", "test"]
FROZEN, NOMINAL = "frozen", "nominal"


class Frozen(BaseModel):
    """Base of everything in a record: immutable, without unknown keys, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class TrainKey(Frozen):
    """What a policy is: everything that a ranking varies in training."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Tasks whose demonstrations it learns from, by catalog name `<suite>/<task>`."""
    camera: str
    """Camera of the demonstrations."""
    encoder: str
    """Catalog name, plug-in name, `module:attribute` reference or checkpoint URI."""
    adaptation: str = FROZEN
    """What happens to the encoder besides being read; `frozen` leaves it as it is."""
    readout: str
    """What is taken from the encoder's features."""
    head: str
    """Behaviour-cloning head."""
    text_encoder: str = Field(default="", exclude_if=lambda value: not value)
    """How instructions are embedded; left out where the policy takes none."""
    conditioning: str = Field(default="", exclude_if=lambda value: not value)
    """How the embedding enters the policy: `concat` or `film`; left out where there is none."""
    num_demos: Count
    """Demonstrations of each task; smaller training sets are prefixes of larger ones."""
    seed: Count
    """Seeds the choice of demonstrations, the initialisation and the batches."""


class EvalKey(Frozen):
    """Where a policy is tried."""

    task: str
    """The task, by catalog name."""
    instruction: str = ""
    """Language instruction that the policy is given; empty for policies that take none."""
    wording: str = Field(default="", exclude_if=lambda value: not value)
    """What that instruction is: `paraphrase`, `swapped` or `given`; left out where it is the one of the training."""
    camera: str
    """Camera of the rollouts."""
    look: str = NOMINAL
    """How the scene looks; `nominal` is the simulator's own look."""
    split: EvaluationSplit = "test"
    """Which initial states are evaluated."""


class Cell(Frozen):
    """The unit of work, storage and statistics: one policy in one place."""

    train: TrainKey
    """The policy."""
    evaluation: EvalKey
    """The place."""

    @classmethod
    def at(  # noqa: PLR0913 - the seven names of an ordinary cell
        cls,
        *,
        task: str,
        camera: str,
        encoder: str,
        readout: str,
        head: str,
        num_demos: int,
        seed: int,
        split: EvaluationSplit = "test",
    ) -> Cell:
        """An ordinary cell: a frozen encoder, evaluated on the task and through the camera it was trained with."""
        return cls(
            train=TrainKey(
                tasks=(task,),
                camera=camera,
                encoder=encoder,
                readout=readout,
                head=head,
                num_demos=num_demos,
                seed=seed,
            ),
            evaluation=EvalKey(task=task, camera=camera, split=split),
        )

    @property
    def task(self) -> str:
        """The evaluated task."""
        return self.evaluation.task

    @property
    def camera(self) -> str:
        """The camera of the rollouts."""
        return self.evaluation.camera

    @property
    def look(self) -> str:
        """The look of the rollouts."""
        return self.evaluation.look

    @property
    def instruction(self) -> str:
        """The instruction given in the rollouts."""
        return self.evaluation.instruction

    @property
    def split(self) -> EvaluationSplit:
        """The evaluated initial states."""
        return self.evaluation.split

    @property
    def encoder(self) -> str:
        """The encoder."""
        return self.train.encoder

    @property
    def adaptation(self) -> str:
        """What happens to the encoder."""
        return self.train.adaptation

    @property
    def readout(self) -> str:
        """The readout."""
        return self.train.readout

    @property
    def head(self) -> str:
        """The head."""
        return self.train.head

    @property
    def text_encoder(self) -> str:
        """The text encoder."""
        return self.train.text_encoder

    @property
    def conditioning(self) -> str:
        """How the embedding of the instruction enters."""
        return self.train.conditioning

    @property
    def wording(self) -> str:
        """What the instruction of the rollouts is."""
        return self.evaluation.wording

    @property
    def num_demos(self) -> int:
        """Demonstrations of each task."""
        return self.train.num_demos

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.train.seed

    @property
    def key(self) -> str:
        """Short content hash that names the cell."""
        return digest_of(self.model_dump(mode="json"))[:12]

    @property
    def flat(self) -> dict[str, str | int]:
        """The cell's values by name, without those that nearly every cell shares and this one does too."""
        values: dict[str, str | int] = {
            "task": self.task,
            "camera": self.camera,
            "encoder": self.encoder,
            "readout": self.readout,
            "head": self.head,
            "num_demos": self.num_demos,
            "seed": self.seed,
        }
        unusual = {
            "train_tasks": ("+".join(self.train.tasks), self.task),
            "train_camera": (self.train.camera, self.camera),
            "adaptation": (self.adaptation, FROZEN),
            "look": (self.look, NOMINAL),
            "text_encoder": (self.text_encoder, ""),
            "conditioning": (self.conditioning, ""),
            "wording": (self.wording, ""),
            "instruction": (self.instruction, ""),
        }
        return values | {name: value for name, (value, usual) in unusual.items() if value != usual}

    @property
    def slug(self) -> str:
        """File-name stem: readable, unique by its hash."""
        values = self.flat | {"num_demos": f"n{self.num_demos}", "seed": f"s{self.seed}"}
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", str(word)) for word in values.values())[:150] + f"-{self.key}"


def digest_of(value: object) -> str:
    """SHA-256 hex digest of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
