"""The contract of behaviour-cloning heads: observations in, chunks of actions out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from pvrbench.common.reference import resolve
from pvrbench.policies.spec import HeadOptions, HeadSpec, Regularisation, TrainSettings, Tuning

Array = NDArray[Any]

# What a policy remembers within one episode. Only the policy that made it looks inside.
State = Any

Options = TypeVar("Options", bound=HeadOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """One policy to be trained: its demonstrations, its regularisation and its seed.

    Jobs may share the tensors of many demonstrations, F frames in all, and name the T transitions they learn from.

    Attributes:
        features: frozen readout of every frame; a vector, or a grid where `trained_readout` reads grids.
        proprio: proprioception at the same instants.
        actions: expert actions in [-1, 1].
        episodes: the demonstration that each frame belongs to. Frames of one demonstration are consecutive and in
            order.
        seed: seeds everything random in the training of this policy.
        instructions: embedding of the instruction at the same instants; None where the head reads none.
        rows: the frames that are learnt from, whole demonstrations; None for all, in their order.
        trained_readout: a module that maps `B ...` features to `B D` vectors and belongs to the policy. Its parameters
            are trained with the head; one without parameters was fitted to the training demonstrations beforehand.
            None where the features are vectors already.
        regularisation: of this policy; the encoder's trained part has its own.
        tuning: how the parameters of `trained_readout` whose names start with `encoder.` are optimised; None where it
            has no such parameters. What it gives before training scales the inputs of the head.
        shift_px: features are pictures, and each is shifted at random by up to so many pixels whenever it is learnt
            from.
    """

    features: Float[Tensor, "F ..."]
    proprio: Float[Tensor, "F P"]
    actions: Float[Tensor, "F A"]
    episodes: Int[Tensor, " F"]
    seed: int
    instructions: Float[Tensor, "F L"] | None = None
    rows: Int[Tensor, " T"] | None = None
    trained_readout: nn.Module | None = None
    regularisation: Regularisation = field(default_factory=Regularisation)
    tuning: Tuning | None = None
    shift_px: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """What policies act on, B rows of one instant each.

    Attributes:
        features: frozen readouts, of the form that the policies were trained on.
        proprio: proprioception.
        instruction: embedding of the instruction, where the task has one.
    """

    features: Float[Tensor, "B ..."]
    proprio: Float[Tensor, "B P"]
    instruction: Float[Tensor, "B L"] | None = None

    def pick(self, rows: Sequence[int]) -> Observation:
        """Some rows, in the order given, as tensors of their own."""
        index = torch.tensor(rows, device=self.features.device)
        instruction = None if self.instruction is None else self.instruction[index]
        return Observation(self.features[index], self.proprio[index], instruction)


def side_inputs(
    proprio: Float[Tensor, "B P"], instruction: Float[Tensor, "B L"] | None, *, use_proprio: bool
) -> Float[Tensor, "B Q"]:
    """What heads read beside the features: proprioception where it is used, then the instruction where there is one."""
    read = proprio if use_proprio else proprio[:, :0]
    return read if instruction is None else torch.cat([read, instruction], dim=1)


@runtime_checkable
class Policy(Protocol):
    """One trained policy, after its last update. It must pickle.

    A row's actions and state must not depend on the other rows, to the last bit, nor on the row's position.

    A class may also define `group` and `act_many`, see `GroupPolicy`; then many policies act in few operations.
    """

    @property
    def spec(self) -> HeadSpec:
        """The head that was trained, options included."""
        ...

    @property
    def num_params(self) -> Mapping[str, int]:
        """Trained parameters by part: `head` and `trained_readout`."""
        ...

    @property
    def train_log(self) -> Mapping[str, object]:
        """Losses over the updates, JSON-ready."""
        ...

    @property
    def failure(self) -> str | None:
        """Why training failed (for example a loss that is not finite), None where it did not."""
        ...

    @property
    def checkpoints(self) -> Mapping[int, Policy]:
        """Earlier states of this policy by the number of updates, where they were kept."""
        ...

    @property
    def chunk(self) -> int:
        """K: actions that `act` returns for a row. They are executed one after another before the next observation."""
        ...

    @property
    def trained_readout(self) -> nn.Module | None:
        """The module between frozen features and head, None where the head reads the features."""
        ...

    def start(self, seed: Sequence[int]) -> State:
        """The state of one new episode.

        Args:
            seed: seeds all noise of the episode: the seed of the policy and that of the environment's reset.

        Returns:
            A mutable object that `act` updates, or None for a policy that remembers and draws nothing.
        """
        ...

    def act(self, observation: Observation, states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """Actions in [-1, 1].

        Args:
            observation: B rows.
            states: the state of each row's episode, updated in place.
        """
        ...

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, JsonValue]]:
        """Tensors and a JSON-ready description from which `Head.restore` makes this policy again.

        `pvrbench.policies.storage` also stores `spec`, `num_params`, `train_log`, `failure` and the parameters of
        `trained_readout`. Checkpoints are not stored.
        """
        ...


@runtime_checkable
class GroupPolicy(Policy, Protocol):
    """A policy that can act together with others of its class."""

    @property
    def group(self) -> Hashable:
        """Policies of one class whose `group` is equal can act in one call of `act_many`."""
        ...

    @classmethod
    def act_many(
        cls, policies: Sequence[Any], policy_index: Sequence[int], observation: Observation, states: Sequence[State]
    ) -> Float[Tensor, "B K A"]:
        """What each row's policy gives by `act`, to the last bit."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training says of a policy, whatever its head; the attributes are those of `Policy`."""

    spec: HeadSpec
    num_params: Mapping[str, int]
    train_log: Mapping[str, object]
    failure: str | None = None
    trained_readout: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedPolicy:
    """Base class with what most policies share. A subclass adds its tensors, `act` and `export`.

    Attributes:
        training: what training says of this policy.
        checkpoints: see `Policy`.
    """

    training: Training
    checkpoints: Mapping[int, Policy] = field(default_factory=dict[int, Policy])

    @property
    def spec(self) -> HeadSpec:
        """See `Policy`."""
        return self.training.spec

    @property
    def num_params(self) -> Mapping[str, int]:
        """See `Policy`."""
        return self.training.num_params

    @property
    def train_log(self) -> Mapping[str, object]:
        """See `Policy`."""
        return self.training.train_log

    @property
    def failure(self) -> str | None:
        """See `Policy`."""
        return self.training.failure

    @property
    def trained_readout(self) -> nn.Module | None:
        """See `Policy`."""
        return self.training.trained_readout

    @property
    def chunk(self) -> int:
        """One action for each observation."""
        return 1

    def start(self, seed: Sequence[int]) -> State:
        """Nothing to remember."""
        del seed


@runtime_checkable
class Head(Protocol):
    """Trains policies. Its class is what the entry point of a `HeadSpec` names.

    A class may also define `fit_many(jobs, settings, device, num_checkpoints) -> list[Policy]`, announced by
    `HeadSpec.fit_together`. Each policy must have the same bits as from `fit`.
    """

    def __init__(self, spec: HeadSpec) -> None: ...

    def fit(self, job: TrainJob, settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0) -> Policy:
        """Trains one policy.

        Random numbers come from the seed of the job alone, so the same job gives the same bits on the CPU.

        Args:
            job: finite demonstrations.
            settings: optimisation; the parameters after the last update are returned.
            device: where to train.
            num_checkpoints: evenly spaced parameter sets to keep, the last of which is that of the last update.

        Returns:
            The policy; one whose loss or parameters are not finite has its `failure` set.
        """
        ...

    def restore(
        self, tensors: Mapping[str, Tensor], description: Mapping[str, JsonValue], training: Training
    ) -> Policy:
        """A policy from what its `export` gave; it acts the same to the last bit.

        Args:
            tensors: as exported.
            description: as exported.
            training: what was stored besides, the trained readout included.
        """
        ...


@dataclass(frozen=True, slots=True)
class UntrainedPolicy:
    """In place of a policy that could not be trained; it does not act."""

    spec: HeadSpec
    failure: str
    num_params: Mapping[str, int] = field(default_factory=dict[str, int])
    train_log: Mapping[str, object] = field(default_factory=dict[str, object])
    checkpoints: Mapping[int, Policy] = field(default_factory=dict[int, Policy])
    chunk: int = 1
    trained_readout: nn.Module | None = None

    def start(self, seed: Sequence[int]) -> State:
        """Nothing to remember."""
        del seed

    def act(self, observation: Observation, states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """Refuses.

        Raises:
            RuntimeError: always.
        """
        del observation, states
        raise RuntimeError(f"This policy was never trained: {self.failure}")

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, JsonValue]]:
        """Refuses.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"This policy was never trained and cannot be stored: {self.failure}")


def build_head(spec: HeadSpec) -> Head:
    """The head of a spec.

    Raises:
        ImportError: the module of its entry point cannot be imported.
        AttributeError: the module has no such class.
    """
    return cast("Head", resolve(spec.entry_point)(spec))


def options_of(spec: HeadSpec, kind: type[Options]) -> Options:
    """The options of a spec, as the class that a head expects.

    Raises:
        TypeError: they are of another class.
    """
    if not isinstance(spec.options, kind):
        found = type(spec.options).__name__
        raise TypeError(
            f"Head {spec.name!r} ({spec.entry_point}) has {found} as its options; expected {kind.__name__}."
        )
    return spec.options
