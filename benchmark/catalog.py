"""Catalogs: name -> spec, from shipped rows, installed plugins and `module:attribute` references."""

from __future__ import annotations

import difflib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from pvrbench.benchmark.probes.catalog import PROBES
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.encoders.adaptation.catalog import ADAPTATIONS
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.catalog import ALIASES, ENCODERS
from pvrbench.encoders.readouts.catalog import READOUTS
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.reference import spec_for as encoder_spec_for
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.text.catalog import TEXT_ENCODERS
from pvrbench.encoders.text.spec import TextEncoderSpec
from pvrbench.encoders.weights.location import file_of
from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.looks import LOOKS
from pvrbench.envs.spec import LookSpec, TaskSpec
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import HeadSpec

S = TypeVar("S")


class UnknownNameError(ValueError, KeyError):
    """A name is in no catalog; the text offers the nearest one. A `KeyError` too, as a mapping must raise."""

    __str__ = ValueError.__str__


class PluginError(ValueError):
    """An installed plug-in cannot be used; the text names it and its package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """One row of a catalog of the engine's own parts.

    Attributes:
        name: catalog name.
        entry_point: `module:Class`.
        description: one line for `pvrbench list`.
        fewest_episodes: planned episodes of each cell below which a schedule is refused.
        spans_run: whether a schedule decides on all cells of a run together, see `RunSchedule`; else on those of a job.
        is_remote: whether an executor does jobs on other machines, so that this one need not have what they need.
    """

    name: str
    entry_point: str
    description: str
    fewest_episodes: int = 1
    spans_run: bool = False
    is_remote: bool = False


SCHEDULES: Mapping[str, ComponentSpec] = {
    row.name: row
    for row in (
        ComponentSpec(
            name="fixed",
            entry_point="pvrbench.benchmark.engine.schedules.fixed:Fixed",
            description="every planned episode of every cell",
        ),
        ComponentSpec(
            name="sequential",
            entry_point="pvrbench.benchmark.engine.schedules.sequential:Sequential",
            description="round by round, until the comparisons of a contender are decided",
            fewest_episodes=100,
            spans_run=True,
        ),
    )
}
EXECUTORS: Mapping[str, ComponentSpec] = {
    row.name: row
    for row in (
        ComponentSpec(
            name="local",
            entry_point="pvrbench.benchmark.engine.executors.local:Local",
            description="this machine, one job after another, each on all cores",
        ),
        ComponentSpec(
            name="slurm",
            entry_point="pvrbench.benchmark.engine.executors.slurm:Slurm",
            description="one array of a Slurm cluster, whose nodes see the run's folder (pvrbench[slurm])",
            is_remote=True,
        ),
        ComponentSpec(
            name="ray",
            entry_point="pvrbench.benchmark.engine.executors.ray:OnRay",
            description="tasks of a Ray cluster, with or without a shared folder (pvrbench[ray])",
            is_remote=True,
        ),
    )
}


class Catalog(Mapping[str, S], Generic[S]):
    """Read-only mapping from name to spec.

    Rows of installed plug-ins (entry points of the group `pvrbench.<kind>s`, whose name is the catalog name and whose
    object is a spec) are listed with the shipped ones and cannot replace them. `module:attribute` names a spec that is
    installed or lies in the current folder.

    Args:
        kind: what is listed, for error texts: `encoder`, `task`, ...
        rows: the shipped specs.
        resolve: makes a spec from a reference that is no name (`my_package.module:MyEncoder`); raises
            ValueError where it cannot. None takes the attribute itself, which must be a spec then.
        aliases: other names of rows, which are not listed.
    """

    def __init__(
        self,
        kind: str,
        rows: Mapping[str, S],
        resolve: Callable[[str], S] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self._rows = rows
        self._resolve = resolve or self._attribute
        self._aliases = aliases or {}
        self._plugins = {point.name: point for point in entry_points(group=f"pvrbench.{kind}s")}
        self._type = type(next(iter(rows.values())))

    def __getitem__(self, name: str) -> S:
        """The spec of a name or reference.

        Raises:
            UnknownNameError: there is none.
            PluginError: it is the name of a plug-in that cannot be used.
        """
        name = self._aliases.get(name, name)
        if name in self._plugins:
            return self._plugin(name)
        if name in self._rows:
            return self._rows[name]
        if ":" in name:
            return self._resolve(name)
        raise UnknownNameError(unknown(self.kind, name, self))

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._plugins or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        yield from self._rows
        yield from (name for name in sorted(self._plugins) if name not in self._rows)

    def __len__(self) -> int:
        return len({*self._rows, *self._plugins})

    def usable(self) -> tuple[dict[str, S], dict[str, str]]:
        """All specs by name, and why those of some plug-ins cannot be used: one of them does not hide the rest."""
        specs: dict[str, S] = {}
        broken: dict[str, str] = {}
        for name in self:
            try:
                specs[name] = self[name]
            except PluginError as error:
                broken[name] = str(error)
        return specs, broken

    def _plugin(self, name: str) -> S:
        point = self._plugins[name]
        where = f"Plug-in {self.kind} {name!r} ({point.value} of package {point.dist.name if point.dist else '?'})"
        if name in self._rows:
            raise PluginError(f"{where} has the name of a shipped {self.kind}. Give it another name, or uninstall it.")
        try:
            spec = point.load()
        except Exception as error:
            # Whatever another package raises on import: the user has to know which one it is.
            raise PluginError(
                f"{where} cannot be imported: {type(error).__name__}: {error}. Mend or uninstall it."
            ) from error
        if not isinstance(spec, self._type) or getattr(spec, "name", None) != name:
            raise PluginError(
                f"{where} is {self._told(spec)}; expected the {self._type.__name__} {name!r}, as its entry point."
            )
        return spec

    def _attribute(self, reference: str) -> S:
        see_current_folder()
        try:
            found: object = pkgutil.resolve_name(reference)
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownNameError(
                f"{self.kind.capitalize()} {reference!r} cannot be imported: {error}. Write it as module:attribute; "
                "the module must lie in this folder or be installed."
            ) from error
        if not isinstance(found, self._type):
            raise UnknownNameError(
                f"{self.kind.capitalize()} {reference!r} is {self._told(found)}; expected a {self._type.__name__}."
            )
        return found

    def _told(self, found: object) -> str:
        if isinstance(found, self._type):
            return f"the {self._type.__name__} {getattr(found, 'name', None)!r}"
        return f"a {type(found).__name__}"


def see_current_folder() -> None:
    """Modules of the current folder can be imported, behind all that is installed: they shadow nothing."""
    # A console script does not look into the folder it is started in, as `python -m` would.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def unknown(kind: str, name: str, names: Iterable[str], listing: str | None = None) -> str:
    """The error text for a name that is not among `names`; `listing` is the command that lists them."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"`{listing or f'pvrbench list {kind}s'}` shows all {len(names)}."
    return f"Unknown {kind} {name!r}. {hint}"


@cache
def encoders() -> Catalog[EncoderSpec]:
    """All encoders, plugins among them; also takes `module:attribute` and checkpoint URIs, with a name before `=`."""
    return Catalog("encoder", ENCODERS, _named_encoder, ALIASES)


# A name of the user's for what has a long one: `mine=file:/path/x.pth?model=...`, `mine=my_package.module:MyEncoder`.
_NAMED = re.compile(r"([A-Za-z0-9][\w.-]{0,79})=(\w[\w.]*:.+)")


def own_name(reference: str) -> tuple[str, str]:
    """The name that a reference to an encoder goes by, and what it refers to: twice the same where it gives none."""
    match = _NAMED.fullmatch(reference)
    return (reference, reference) if match is None else (match[1], match[2])


def _named_encoder(reference: str, image_px: int | None = None) -> EncoderSpec:
    name, reference = own_name(reference)
    spec = encoder_spec_for(reference, image_px)
    if name == reference:
        return spec
    if name in encoders():
        raise UnknownNameError(f"{name}={reference} gives an encoder the name of another of the catalog. Choose one.")
    if spec.weights is not None and file_of(spec.weights) is None:
        raise UnknownNameError(
            f"{name}={reference}: weights of the hub are kept by their own name. A name of yours goes before file: or "
            "module:attribute; leave it out."
        )
    return replace(spec, name=name)


def encoder_spec(name: str, image_px: int) -> EncoderSpec:
    """The spec of an encoder for pictures of some size; one's own encoder is asked for its features at that size."""
    catalog = encoders()
    if name in catalog or ":" not in name:
        return catalog[name]
    return _named_encoder(name, image_px)


@cache
def tasks() -> Catalog[TaskSpec]:
    """All tasks."""
    return Catalog("task", TASKS)


@cache
def adaptations() -> Catalog[AdaptationSpec]:
    """What may happen to an encoder besides being read."""
    return Catalog("adaptation", ADAPTATIONS)


@cache
def looks() -> Catalog[LookSpec]:
    """How a scene may look; a level is written behind the name, see `pvrbench.envs.spec.Look`."""
    return Catalog("look", LOOKS)


@cache
def schedules() -> Catalog[ComponentSpec]:
    """Which episodes are run; the class takes the number of planned episodes."""
    return Catalog("schedule", SCHEDULES)


@cache
def executors() -> Catalog[ComponentSpec]:
    """Where jobs run; the class takes a `RunSite`."""
    return Catalog("executor", EXECUTORS)


@cache
def heads() -> Catalog[HeadSpec]:
    """All behaviour-cloning heads."""
    return Catalog("head", HEADS)


@cache
def readouts() -> Catalog[ReadoutSpec]:
    """All readouts."""
    return Catalog("readout", READOUTS)


@cache
def text_encoders() -> Catalog[TextEncoderSpec]:
    """How instructions become vectors."""
    return Catalog("text_encoder", TEXT_ENCODERS)


@cache
def probes() -> Catalog[ProbeSpec]:
    """What can be said of an encoder without training a policy."""
    return Catalog("probe", PROBES)


def expand_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Replaces the name of a task set (`metaworld5`) by its members; keeps order, drops repeats."""
    expanded = (member for name in names for member in TASK_SETS.get(name, (name,)))
    return tuple(dict.fromkeys(expanded))
