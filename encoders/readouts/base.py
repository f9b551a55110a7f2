"""The contract of a readout: an encoder's features in, what a head reads out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.common.options import parse_options
from pvrbench.common.reference import made_from
from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.modules import Projection
from pvrbench.encoders.readouts.spec import ReadoutSpec, compact_side


@runtime_checkable
class Readout(Protocol):
    """How features become the input of a head: a frozen stage, and for some a module that is fitted or trained.

    Many heads are trained at once by stacking their parameters. So a module that has parameters updates no buffer,
    branches on no values, draws nothing at random when it is called, and is initialised from the seed alone.

    Attributes:
        spec: the catalog row that it was made from.
    """

    spec: ReadoutSpec

    def read(self, features: Features) -> Float[Tensor, "B ..."]:
        """The frozen stage: a vector for each row, or the grid where the module reads grids.

        Raises:
            ValueError: the encoder has no such features.
        """
        ...

    def fit(self, train_features: Float[Tensor, "T ..."], seed: int, budget_dim: int | None) -> nn.Module | None:
        """The module between the frozen stage and the head, made from the training demonstrations of one head alone.

        Args:
            train_features: what `read` gave for the training frames, joined over the history.
            seed: seeds the initialisation.
            budget_dim: common width to which the channels of every encoder are projected first, so that wide encoders
                have no advantage from a larger head; None for no projection.

        Returns:
            A module `B ... -> B D`, or None where what `read` gave goes to the head as it is.
        """
        ...

    def empty(self, feature_shape: tuple[int, ...], budget_dim: int | None) -> nn.Module | None:
        """A module with the architecture that `fit` gives, whose state is then loaded; None where `fit` gives None.

        Args:
            feature_shape: shape of one row of what `fit` was given.
            budget_dim: as for `fit`.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a readout that has none."""


class ProjectedReadout:
    """A readout with the projection to an equal budget; what readouts here are derived from, and others may be.

    Subclasses say how they read, and give a module in `build` if they have one.

    Args:
        spec: the catalog row.

    Raises:
        OptionError: an option is unknown or not valid.
    """

    options_type: ClassVar[type] = NoOptions

    def __init__(self, spec: ReadoutSpec) -> None:
        self.spec = spec
        self.options: Any = parse_options(self.options_type, spec.options, f"Readout {spec.name!r}")

    def read(self, features: Features) -> Float[Tensor, "B ..."]:
        """The first field that the row names, as it is."""
        return self.fields(features)[0]

    def build(self, shape: tuple[int, ...], generator: torch.Generator) -> nn.Module | None:
        """The module that is trained with the head; None for none.

        Args:
            shape: of one row that it is given, after the projection.
            generator: from which every parameter is drawn.
        """
        del shape, generator

    def fit(self, train_features: Float[Tensor, "T ..."], seed: int, budget_dim: int | None) -> nn.Module | None:
        """Projection and module, drawn from the seed; see `Readout.fit`."""
        return self._stages(tuple(train_features.shape[1:]), seed, budget_dim)

    def empty(self, feature_shape: tuple[int, ...], budget_dim: int | None) -> nn.Module | None:
        """Projection and module, to be filled; see `Readout.empty`."""
        return self._stages(feature_shape, 0, budget_dim)

    def fields(self, features: Features) -> list[Tensor]:
        """The fields that the row names.

        Raises:
            ValueError: the encoder does not give one of them.
        """
        found: list[Tensor] = []
        for name in self.spec.reads:
            part = cast("Tensor | None", getattr(features, name))
            if part is None:
                raise ValueError(f"Readout {self.spec.name!r} reads {name}, which the encoder does not give.")
            found.append(part)
        return found

    def _stages(self, shape: tuple[int, ...], seed: int, budget_dim: int | None) -> nn.Module | None:
        generator = torch.Generator().manual_seed(seed)
        stages: list[nn.Module] = []
        # Pixels are equally wide for all.
        if budget_dim is not None and shape[0] > 0 and not self.spec.trains_on_pixels:
            stages.append(Projection(shape[0], budget_dim, generator))
            shape = (budget_dim, *shape[1:])
        built = self.build(shape, generator)
        stages += [] if built is None else [built]
        return stages[0] if len(stages) == 1 else nn.Sequential(*stages) if stages else None


def load_readout(spec: ReadoutSpec) -> Readout:
    """Imports the class of a readout and makes it from its row.

    Raises:
        EntryPointError: the class cannot be imported.
        OptionError: an option is unknown or not valid.
        ValueError: the entry point makes something else.
    """
    return made_from(spec, Readout, "Readout", "spec, read, fit or empty")


def compact(features: Features) -> Features:
    """The same features with a small grid, which is what most readouts need, see `spec.compact_side`."""
    grid = features.grid
    if grid is None or grid.shape[-1] == (side := compact_side(grid.shape[-1])):
        return features
    return Features(features.class_token, functional.adaptive_avg_pool2d(grid, side), features.pooled)
