"""The contract of behaviour-cloning heads: observations in, chunks of actions out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float, Float32, Int
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from pvrbench.common.reference import resolve
from pvrbench.policies.spec import HeadOptions, HeadSpec, Regularisation, TrainSettings

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
        rows: the frames that are learnt from, whole demonstrations; None for all, in their order.
        trained_readout: a module that maps `B ...` features to `B D` vectors and belongs to the policy. Its parameters
            are trained with the head; one without parameters was fitted to the training demonstrations beforehand.
            None where the features are vectors already.
        regularisation: of this policy.
    """

    features: Float[Tensor, "F ..."]
    proprio: Float[Tensor, "F P"]
    actions: Float[Tensor, "F A"]
    episodes: Int[Tensor, " F"]
    seed: int
    rows: Int[Tensor, " T"] | None = None
    trained_readout: nn.Module | None = None
    regularisation: Regularisation = field(default_factory=Regularisation)


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


def train_heads(
    spec: HeadSpec, jobs: Sequence[TrainJob], settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0
) -> list[Policy]:
    """Trains one policy for each job; together where the head can do that.

    Args:
        spec: the head, its options included.
        jobs: demonstrations, regularisation and seed of each policy.
        settings: optimisation; the parameters after the last update are returned.
        device: where to train.
        num_checkpoints: evenly spaced parameter sets to keep, the last of which is that of the last update.

    Returns:
        The policies in the order of the jobs. One whose training set, loss or parameters are not finite has its
        `failure` set.

    Raises:
        ValueError: a job's tensors are of different lengths, or a demonstration's frames are not consecutive.
    """
    head = build_head(spec)
    failures = [_problem(job) for job in jobs]
    sound = [job for job, failure in zip(jobs, failures, strict=True) if failure is None]
    if spec.fit_together:
        fit_many = cast("Callable[..., list[Policy]]", cast("Any", head).fit_many)
        trained = fit_many(sound, settings, device, num_checkpoints) if sound else []
    else:
        trained = [head.fit(job, settings, device, num_checkpoints) for job in sound]
    following = iter(trained)
    return [next(following) if failure is None else UntrainedPolicy(spec, failure) for failure in failures]


def _problem(job: TrainJob) -> str | None:
    """Why a job cannot be trained on, None where it can."""
    parts = {"features": job.features, "proprio": job.proprio, "actions": job.actions}
    for name, values in {**parts, "episodes": job.episodes}.items():
        if len(values) != len(job.features) or not len(values):
            raise ValueError(
                f"A head was given {len(job.features)} features and {len(values)} {name}; they must match."
            )
    episodes = job.episodes if job.rows is None else job.episodes[job.rows]
    if len(cast("Tensor", torch.unique_consecutive(episodes))) != len(cast("Tensor", episodes.unique())):
        raise ValueError("The frames of a demonstration are not consecutive. Order a job's rows by demonstration.")
    for name, values in parts.items():
        if not bool(torch.isfinite(values if job.rows is None else values[job.rows]).all()):
            return f"The {name} of a training set hold NaN or infinity. Check the encoder or the demonstrations."
    return None


def act_together(
    policies: Sequence[Policy], policy_index: Sequence[int], observation: Observation, states: Sequence[State]
) -> list[Float32[Array, "K A"]]:
    """Actions of many policies, each for its own rows; equal to what each policy's `act` gives, to the last bit.

    Args:
        policies: the policies.
        policy_index: which policy acts for a row.
        observation: B rows.
        states: the state of each row's episode, updated in place.

    Returns:
        For each row, the K actions that its policy gives.
    """
    used = set(policy_index)
    if len(used) == 1:
        return _arrays(policies[used.pop()].act(observation, states))
    groups: dict[object, list[int]] = {}
    kinds = {index: _group(policies[index], index) for index in used}
    for row, index in enumerate(policy_index):
        groups.setdefault(kinds[index], []).append(row)
    actions: dict[int, Array] = {}
    for rows in groups.values():
        is_all = len(rows) == len(policy_index)
        given = observation if is_all else observation.pick(rows)
        own_states = states if is_all else [states[row] for row in rows]
        first = policies[policy_index[rows[0]]]
        if hasattr(first, "act_many"):
            kind = cast("type[GroupPolicy]", type(first))
            found = kind.act_many(policies, [policy_index[row] for row in rows], given, own_states)
        else:
            found = first.act(given, own_states)
        actions.update(zip(rows, _arrays(found), strict=True))
    return [actions[row] for row in range(len(policy_index))]


def _arrays(actions: Float[Tensor, "B K A"]) -> list[Float32[Array, "K A"]]:
    return list(cast("Array", actions.numpy(force=True)))


def _group(policy: Policy, index: int) -> object:
    """Policies that share this act in one call."""
    if hasattr(policy, "act_many"):
        return type(policy), cast("GroupPolicy", policy).group
    return index
