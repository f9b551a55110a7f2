"""Bodies of `pvrbench weights list | fetch | import | verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from pvrbench.benchmark.catalog import encoders, text_encoders
from pvrbench.benchmark.commands.verb import Verb, VerbSettings, terminal
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.text.spec import weights_row
from pvrbench.encoders.weights.download import OnProgress
from pvrbench.encoders.weights.loading import (
    WeightsError,
    assumption,
    fetch,
    find,
    import_weights,
    local_path,
    origin,
    verify,
    weights_dir,
)
from pvrbench.encoders.weights.location import file_of, parts_of

WEIGHTS_HELP = """\
  pvrbench weights list                     what there is, what is here, under which licence
  pvrbench weights fetch NAME...            download, check, convert to safetensors
  pvrbench weights import NAME FILE         the same from an official file or folder that is here already
  pvrbench weights verify [NAME...]         hash again what is here

Weights lie in PVRBENCH_WEIGHTS; copy files from there to a machine without network."""


class WeightsSettings(VerbSettings):
    """Settings of `pvrbench weights`."""

    subjects: ClassVar[tuple[str, ...]] = ("action", "names")

    action: Literal["list", "fetch", "import", "verify"]
    """What is done with the weights."""
    names: tuple[str, ...] = ()
    """Catalog names; for import one name and a file or folder."""
    as_json: bool = False
    """Print JSON for a program to read."""


def weights_command(settings: WeightsSettings) -> int:
    """Lists, fetches, imports or verifies weights."""
    body = {"list": _list, "fetch": _fetch, "import": _import, "verify": _verify}[settings.action]
    return body(list(settings.names), as_json=settings.as_json)


def _specs(names: list[str]) -> list[EncoderSpec]:
    named = [part for name in names for part in parts_of(_row(name))]
    of_text = [weights_row(spec) for spec in text_encoders().values() if spec.weights]
    return named or [*(spec for spec in encoders().values() if spec.weights), *of_text]


def _row(name: str) -> EncoderSpec:
    """The row of an encoder, or that of a text encoder with weights."""
    found = text_encoders().get(name)
    return encoders()[name] if found is None or found.weights is None else weights_row(found)


def _list(names: list[str], *, as_json: bool) -> int:
    rows = [
        {
            "encoder": spec.name,
            "here": _place(spec),
            "licence": spec.licence,
            "non_commercial": spec.non_commercial,
            "source": spec.weights.uri if spec.weights else "",
            "origin": origin(spec),
        }
        for spec in _specs(names)
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return 0
    table = Table("encoder", "here", "licence", "source", box=None)
    for row in rows:
        licence = f"{row['licence']} (non-commercial)" if row["non_commercial"] else str(row["licence"])
        table.add_row(str(row["encoder"]), str(row["here"]), licence, str(row["source"]))
    terminal().print(table)
    sys.stdout.write(f"Local weights lie in {weights_dir()} (PVRBENCH_WEIGHTS).\n")
    return 0


def _place(spec: EncoderSpec) -> str:
    if spec.weights is None:
        return "needs none"
    path = find(spec)
    if path is None:
        return "no"
    if file_of(spec.weights) is not None:
        return "yes"
    return "yes" if path.is_relative_to(weights_dir()) or path == local_path(spec) else "in the hub's cache"


def _fetch(names: list[str], *, as_json: bool) -> int:
    del as_json
    if not names:
        raise ValueError("`pvrbench weights fetch` needs the names of encoders; `pvrbench weights list` shows them.")
    failed = False
    for spec in _specs(names):
        _say_licence(spec)
        try:
            with _progress(spec.name) as on_progress:
                path = fetch(spec, on_progress)
        except WeightsError as error:
            # The next encoder may be at another place.
            sys.stderr.write(f"error: {error}\n")
            failed = True
        else:
            sys.stdout.write(f"{path}\n")
            _say_prompt(spec, path)
    return 1 if failed else 0


def _import(names: list[str], *, as_json: bool) -> int:
    del as_json
    if len(names) != 2:
        raise ValueError("`pvrbench weights import` needs the name of one encoder and its official file.")
    spec = _row(names[0])
    _say_licence(spec)
    path = import_weights(spec, Path(names[1]).expanduser())
    sys.stdout.write(f"{path}\n")
    if doubt := assumption(spec):
        sys.stderr.write(f"note: {spec.name} is not verified: {doubt}.\n")
    _say_prompt(spec, path)
    return 0


def _verify(names: list[str], *, as_json: bool) -> int:
    specs = [spec for spec in _specs(names) if names or find(spec) is not None]
    faults = {spec.name: verify(spec) for spec in specs}
    doubts = {spec.name: "" if faults[spec.name] else assumption(spec) for spec in specs}
    if as_json:
        found = {name: {"fault": fault, "not_verified": doubts[name]} for name, fault in faults.items()}
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        for name, fault in faults.items():
            state = fault or (f"not verified: {doubts[name]}" if doubts[name] else "sound")
            sys.stdout.write(f"{name}: {state}\n")
        if not faults:
            sys.stdout.write(f"no weights are on this machine; they would lie in {weights_dir()}\n")
    return 1 if any(faults.values()) else 0


def _say_licence(spec: EncoderSpec) -> None:
    kind = ", which forbids commercial use" if spec.non_commercial else ""
    sys.stderr.write(f"note: the weights of {spec.name} are under {spec.licence}{kind}.\n")


def _say_prompt(spec: EncoderSpec, path: Path) -> None:
    """A text-conditioned network also wants the embedding of its prompt, which nobody publishes."""
    if spec.options.get("blocks") and not (path / "empty_prompt.safetensors").is_file():
        target = path / "empty_prompt.safetensors"
        sys.stderr.write(
            f"note: {spec.name} also needs the embedding of the empty prompt, made once with transformers installed: "
            f"`python -m pvrbench.encoders.families.prompt {spec.options['repo']} {target}`.\n"
        )


@contextmanager
def _progress(name: str) -> Generator[OnProgress]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, visible=False)

        def show(done_bytes: int, total_bytes: int) -> None:
            bar.update(task, completed=done_bytes, total=total_bytes or None, visible=True)

        yield show


WEIGHTS = Verb(
    name="weights",
    summary="Show, fetch, import or verify the published weights of encoders.",
    settings=WeightsSettings,
    body=weights_command,
    details=WEIGHTS_HELP,
)
