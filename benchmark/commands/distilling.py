"""Body of `pvrbench distil`: frozen teachers and frames in, a small student with its card and figures out."""

from __future__ import annotations

from dataclasses import replace

from pvrbench.benchmark.catalog import encoder_spec, own_name, unknown
from pvrbench.benchmark.commands.pretraining import TrainingSettings, train_and_write
from pvrbench.benchmark.commands.verb import Verb
from pvrbench.encoders.zoo.pretraining.catalog import DISTILLATION, STUDENTS
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec

DISTIL_HELP = """\
  pvrbench distil teacher=zoo_dift frames=FOLDER output=FOLDER
  pvrbench distil teacher=[zoo_dift,zoo_mae] student=zoo_vit_half frames=FOLDER output=FOLDER num_samples=50000
  pvrbench run 'encoders=[pretrained:FOLDER,zoo_dift,random_zoo_vit]'

A training that was interrupted goes on in `output` when the same command is given again. docs/adaptation.md says what
the card holds."""


class DistilSettings(TrainingSettings):
    """Settings of `pvrbench distil`. Those of the recipe are its own where they are left out."""

    teacher: tuple[str, ...]
    """Encoders whose spatial features are learnt: catalog names or references."""
    student: str = "zoo_vit"
    """The network that learns: zoo_vit, or zoo_vit_half of half its width."""

    def spec(self) -> ObjectiveSpec:
        """The row of the distillation, as asked.

        Raises:
            UnknownNameError: a teacher is in no catalog.
            ValueError: the student is unknown.
        """
        if self.student not in STUDENTS:
            raise ValueError(unknown("student", self.student, STUDENTS, "pvrbench distil --help"))
        backbone = STUDENTS[self.student]
        names = [encoder_spec(own_name(name)[1], backbone.image_px).name for name in dict.fromkeys(self.teacher)]
        return replace(self.with_recipe(DISTILLATION), backbone=backbone, options={"teachers": "|".join(names)})


def distil_command(settings: DistilSettings) -> int:
    """Trains the student, then writes weights, card and figures."""
    return train_and_write(settings.spec(), settings)


DISTIL = Verb(
    name="distil",
    summary="Train a small student on the spatial features of frozen encoders.",
    settings=DistilSettings,
    body=distil_command,
    details=DISTIL_HELP,
)
