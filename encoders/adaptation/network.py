"""What the adaptations that train share: an encoder of one policy's own, most of whose tensors are the shared ones."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pvrbench.common.options import parse_options
from pvrbench.encoders.adaptation.base import AdaptationError, Rest
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.base import Encoder, Features, TrainableEncoder
from pvrbench.encoders.digest import preprocessing_digest
from pvrbench.encoders.preprocessing import check_images, preprocess


@runtime_checkable
class _Network(Protocol):
    """What a `NetworkRest` runs: `features` reads the tensors of `network` at every call."""

    @property
    def network(self) -> nn.Module: ...

    def features(self, pixels: Tensor, /) -> Features: ...


class NetworkRest(Rest):
    """A network some of whose parameters are trained.

    Frozen tensors are those of the encoder that it was made from: a copy of this module shares them, and they are not
    stored with a policy.

    Args:
        encoder: its own modules, with the trained parameters among them.
        trained: the trained parameters, by name.
    """

    def __init__(self, encoder: _Network, trained: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        # No module, so what is frozen is registered nowhere.
        self._encoder = encoder
        self.trained = nn.ParameterDict({name.replace(".", "/"): value for name, value in trained.items()})

    def forward(self, shared: Float[Tensor, "B ..."]) -> Features:
        """Features of the adapted network."""
        return self._encoder.features(shared)

    @property
    def network(self) -> nn.Module:
        """The adapted network, in evaluation mode."""
        return self._encoder.network

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkRest:
        own = {id(value) for value in self.trained.values()}
        _share(self.network, memo, own)
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied


def _share(network: nn.Module, memo: dict[int, Any], own: Iterable[int] = ()) -> None:
    """Lets a deep copy keep the tensors of a network but for some."""
    memo.update((id(part), part) for part in (*network.parameters(), *network.buffers()) if id(part) not in own)


def own_copy(encoder: TrainableEncoder) -> TrainableEncoder:
    """An encoder with modules of its own and the tensors of the given one."""
    memo: dict[int, Any] = {id(encoder.spec): encoder.spec}
    _share(encoder.network, memo)
    return copy.deepcopy(encoder, memo)


class Preprocessed:
    """What an encoder shares with all policies that run its whole network: the preprocessed pixels, as a grid.

    Args:
        encoder: the encoder.
    """

    reentrant = True

    def __init__(self, encoder: Encoder) -> None:
        self._spec = encoder.spec
        side = encoder.spec.image_size
        self.spec = replace(encoder.spec, outputs=("grid",), feature_dim=3, grid_side=side, num_params=0, weights=None)
        self.digest = preprocessing_digest(encoder.spec)
        self._device = "cpu"

    @torch.no_grad()
    def encode(self, inputs: UInt8[Tensor, "B H W 3"]) -> Features:
        """The pixels that the network reads."""
        check_images(inputs, self.spec.name)
        return Features(grid=preprocess(inputs.to(self._device), self._spec))

    def to(self, device: str) -> Preprocessed:
        """The same, which computes on `device`."""
        self._device = device
        return self


class WholeNetwork(ABC):
    """An adaptation for which each policy runs the whole network; a subclass says what is trained of it.

    Args:
        spec: the catalog row.

    Raises:
        OptionError: an option is unknown or not valid.
    """

    def __init__(self, spec: AdaptationSpec) -> None:
        self.spec = spec
        self.options: Any = parse_options(spec.options_type, spec.options, f"Adaptation {spec.name!r}")
        # Options do not change the pixels, which therefore are shared by adaptations of this kind.
        self.digest = WholeNetwork.__name__

    @abstractmethod
    def attach(self, network: nn.Module, generator: torch.Generator) -> dict[str, nn.Parameter]:
        """Puts what is trained into the modules of a network; frozen parameters stay the objects that they are.

        Args:
            network: the network, whose modules may be replaced.
            generator: from which every new parameter is drawn.

        Returns:
            The trained parameters by name; empty where the network has nothing that this adaptation trains.
        """

    def prepare(self, encoder: Encoder) -> Encoder:
        """The preprocessing."""
        self.rest(encoder, 0)
        return Preprocessed(encoder)

    def rest(self, encoder: Encoder, seed: int) -> NetworkRest:
        """The network with what is trained of it."""
        own = own_copy(trainable(self.spec, encoder))
        trained = self.attach(own.network, torch.Generator().manual_seed(seed))
        if not trained:
            raise AdaptationError(
                f"Adaptation {self.spec.name!r} finds nothing to train in the network of encoder "
                f"{encoder.spec.name!r}: {self.spec.description}. Use another adaptation or leave this encoder out."
            )
        return NetworkRest(own, trained)


def trainable(spec: AdaptationSpec, encoder: Encoder) -> TrainableEncoder:
    """The encoder, once it is known that gradients can go through it.

    Raises:
        AdaptationError: they cannot.
    """
    if not isinstance(encoder, TrainableEncoder):
        raise AdaptationError(
            f"Adaptation {spec.name!r} trains the encoder, and {type(encoder).__name__} of encoder "
            f"{encoder.spec.name!r} has no network with features(pixels) to train. Use adaptations=[frozen] for it."
        )
    return encoder


def modules_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of a network by their paths; a list, so that they may be replaced."""
    return list(cast("Any", network).named_modules())


def train_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Replaces every parameter of a module by a trainable copy of it; one that is used twice stays one."""
    copies: dict[int, nn.Parameter] = {}
    trained: dict[str, nn.Parameter] = {}
    for path, part in modules_of(module):
        for name, value in list(part.named_parameters(recurse=False)):
            if id(value) not in copies:
                copies[id(value)] = trained[f"{path}.{name}".lstrip(".")] = nn.Parameter(value.detach().clone())
            setattr(part, name, copies[id(value)])
    return trained


def replace_module(network: nn.Module, path: str, module: nn.Module) -> None:
    """Puts a module into the place of another."""
    parent, _, name = path.rpartition(".")
    cast("Any", network.get_submodule(parent)).__setattr__(name, module)
