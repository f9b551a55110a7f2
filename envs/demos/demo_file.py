"""The file format of demonstrations: robomimic's HDF5 schema with a hash over the content of each demonstration.

A file holds `data/demo_<i>/{states,actions,obs/proprio,obs/state}`, the reset seeds, and filter keys
`mask/<N>_demos`. Images are not stored: they are rendered from states for any camera and size (`pictures/frames.py`).
`DemoSet` (`demo_set.py`) is what the rest of the project opens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from jaxtyping import Float32, Float64

from pvrbench.common.files import PERMISSIONS, write_whole
from pvrbench.envs.makers import makers_of
from pvrbench.envs.spec import FIRST_SUCCESS, DemoEnd, TaskSpec

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# 2: the privileged state shows near relations enlarged.
SCHEMA = 2

# Numbers in one array of one demonstration; a file that claims more is damaged or hostile.
MAX_ENTRIES = 50_000_000


class DemoError(ValueError):
    """A demonstration file cannot be used or written; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One successful demonstration of T steps; entry t is what was seen before action t.

    Attributes:
        seed: reset seed of its initial state, which also drew the expert's style.
        actions: in [-1, 1].
        states: simulator states, enough with the seed to render every instant.
        proprio: proprioception.
        privileged: the oracle's state.
    """

    seed: int
    actions: Float32[Array, "T A"]
    states: Float64[Array, "T Q"]
    proprio: Float32[Array, "T P"]
    privileged: Float32[Array, "T S"]

    @property
    def digest(self) -> str:
        """Content hash."""
        content = hashlib.sha256(str(self.seed).encode())
        for array in (self.actions, self.states, self.proprio, self.privileged):
            content.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a demonstration file says about itself.

    Attributes:
        task: catalog name.
        packages: versions of the simulator's packages.
        action_noise: standard deviation of the noise of the executed actions.
        end: where its demonstrations end.
        horizon: the task's horizon when they were collected; None in files that do not say.
        source: name and SHA-256 of the file that they were imported from; None where the expert made them.
        revision: the task's revision then.
        lengths: number of steps of each demonstration.
    """

    task: str
    packages: Mapping[str, str]
    action_noise: float
    end: DemoEnd
    horizon: int | None
    source: str | None
    revision: int
    lengths: tuple[int, ...]

    @property
    def origin(self) -> str:
        """`scripted` or `imported`."""
        return "scripted" if self.source is None else "imported"

    def summary(self) -> dict[str, str | float | None]:
        """Where the demonstrations come from, for records."""
        return {
            "origin": self.origin,
            "source": self.source,
            "action_noise": self.action_noise,
            "end": str(self.end),
        }

    def __str__(self) -> str:
        count = len(self.lengths)
        steps = f"{sum(self.lengths)} steps, {min(self.lengths)} to {max(self.lengths)} each" if count else "no steps"
        origin = "scripted" if self.source is None else f"imported from {self.source}"
        return f"{count} demonstrations, {steps}, {origin}, action noise {self.action_noise:g}, end {self.end}"


class DemoFile:
    """A demonstration file, whatever its task; its index is checked when it is opened.

    Args:
        path: the HDF5 file.

    Raises:
        DemoError: the file is absent, may not be read, is damaged, or has another schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_readable(path)
        try:
            # Files are replaced as a whole and never changed, so no lock is needed; not every file system has them.
            with h5py.File(path, "r", locking=False) as file:
                data: Any = file["data"]
                self.schema = int(data.attrs["schema"])
                self.digests = [str(item) for item in json.loads(str(data.attrs["digests"]))]
                num_demos = int(data.attrs["num_demos"])
                self.manifest = _read_manifest(data, num_demos)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise DemoError(f"{path} is not a sound demonstration file ({error}). {_REMEDY}") from error
        if len(self.digests) != num_demos:
            raise DemoError(f"{path} is not a sound demonstration file (its index is short). {_REMEDY}")
        if self.schema != SCHEMA:
            raise DemoError(
                f"{path} was written by another version of pvrbench (schema {self.schema}, here {SCHEMA}). "
                "Use that version, or set PVRBENCH_CACHE to another folder to collect anew."
            )

    def __len__(self) -> int:
        return len(self.digests)

    def demo(self, index: int) -> Demo:
        """Reads one demonstration and checks its content hash.

        Raises:
            DemoError: there is none of that index, or its content was changed.
        """
        if not 0 <= index < len(self):
            raise DemoError(f"{self.path} has {len(self)} demonstrations; there is no number {index}.")
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                group: Any = file[f"data/demo_{index}"]
                demo = Demo(
                    seed=int(group.attrs["seed"]),
                    actions=read_array(group, "actions").astype(np.float32),
                    states=read_array(group, "states").astype(np.float64),
                    proprio=read_array(group, "obs/proprio").astype(np.float32),
                    privileged=read_array(group, "obs/state").astype(np.float32),
                )
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise DemoError(f"{self.path} is damaged at demo_{index} ({error}). {_REMEDY}") from error
        if demo.digest != self.digests[index]:
            raise DemoError(f"{self.path} is damaged at demo_{index} (content hash). {_REMEDY}")
        return demo


_REMEDY = "Move it away, then collect or import anew."


def check_readable(path: Path) -> None:
    """Opens a file and closes it.

    Raises:
        DemoError: there is no such file, or the user may not read it.
    """
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise DemoError(f"There is no demonstration file {path}. Collect or import it first.") from error
    except OSError as error:
        raise DemoError(f"{path} cannot be read: {error.strerror}. {PERMISSIONS}") from error


def _read_manifest(data: Any, num_demos: int) -> Manifest:
    attributes = data.attrs
    environment: dict[str, Any] = json.loads(str(attributes["env_args"]))
    # Files from before demonstrations had an end and a source say whether they are imported, and no more.
    was_imported = bool(attributes.get("is_imported", False))
    source = str(attributes["source"]) if "source" in attributes else "an unnamed file" if was_imported else None
    return Manifest(
        task=str(environment["env_name"]),
        packages={str(name): str(item) for name, item in environment["packages"].items()},
        action_noise=float(attributes.get("action_noise", 0.0)),
        end=DemoEnd.parse(str(attributes.get("end", "first_success"))),
        horizon=int(attributes["horizon"]) if "horizon" in attributes else None,
        source=source,
        revision=int(attributes.get("revision", 0)),
        lengths=tuple(int(data[f"demo_{index}"].attrs["num_samples"]) for index in range(num_demos)),
    )


def read_array(group: Any, name: str) -> Array:
    """A numeric array of a file that may come from anywhere.

    Raises:
        ValueError: it lies in another file, is not numeric, or claims to be larger than any demonstration is.
    """
    link: object = group.get(name, getlink=True)
    dataset: Any = None if isinstance(link, h5py.ExternalLink) else group[name]
    if dataset is None or getattr(dataset, "is_virtual", False) or getattr(dataset, "external", None):
        raise ValueError(f"{name} points into another file")
    if getattr(dataset, "dtype", np.dtype(object)).kind not in "fiu":
        raise ValueError(f"{name} is not a numeric array")
    if dataset.size > MAX_ENTRIES:
        raise ValueError(f"{name} claims {dataset.size} entries")
    return np.asarray(dataset)


def write_demos(
    path: Path,
    task: TaskSpec,
    demos: Sequence[Demo],
    *,
    action_noise: float = 0.0,
    end: DemoEnd = FIRST_SUCCESS,
    source: str | None = None,
) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    Args:
        path: the file.
        task: what the demonstrations are of.
        demos: all of them.
        action_noise: noise of the executed actions.
        end: where they end.
        source: the file that they were imported from; None where the expert made them.

    Raises:
        DemoError: it cannot be written.
    """

    def fill(temporary: Path) -> None:
        with h5py.File(temporary, "w", locking=False) as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps(
                {
                    "env_name": task.name,
                    "env_version": version(task.packages[0]),
                    "type": 1,
                    "env_kwargs": dict(task.options),
                    "packages": makers_of(task),
                }
            )
            data.attrs["schema"] = SCHEMA
            data.attrs["action_noise"] = action_noise
            data.attrs["end"] = str(end)
            data.attrs["horizon"] = task.horizon
            data.attrs["revision"] = task.revision
            data.attrs["is_imported"] = source is not None
            if source is not None:
                data.attrs["source"] = source
            data.attrs["num_demos"] = len(demos)
            data.attrs["total"] = sum(len(demo.actions) for demo in demos)
            data.attrs["digests"] = json.dumps([demo.digest for demo in demos])
            for index, demo in enumerate(demos):
                _write_demo(data.create_group(f"demo_{index}"), demo)
            for size in (size for size in (1, 5, 10, 25, 50, 100, 200) if size <= len(demos)):
                names = [f"demo_{index}".encode() for index in range(size)]
                file.create_dataset(f"mask/{size}_demos", data=np.array(names))

    try:
        write_whole(path, fill)
    except PermissionError as error:
        raise DemoError(f"Cannot write {path}: {error.strerror or error}. {PERMISSIONS}") from error
    except OSError as error:
        raise DemoError(
            f"Cannot write {path}: {error.strerror or error}. Free space or set PVRBENCH_CACHE to another folder."
        ) from error


def _write_demo(group: Any, demo: Demo) -> None:
    is_last = np.arange(len(demo.actions)) == len(demo.actions) - 1
    group.attrs["seed"] = demo.seed
    group.attrs["num_samples"] = len(demo.actions)
    group.create_dataset("actions", data=demo.actions)
    group.create_dataset("states", data=demo.states)
    group.create_dataset("obs/proprio", data=demo.proprio)
    group.create_dataset("obs/state", data=demo.privileged)
    group.create_dataset("dones", data=is_last)
    group.create_dataset("rewards", data=is_last.astype(float))
