"""Linear probe of the privileged state: where hand, objects and goal are, and how far the gripper is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from pvrbench.benchmark.probes.base import Findings, Frames, ProbeError, Subject
from pvrbench.benchmark.probes.linear import CONSTANT, LinearProbe, fit_linear, score_of
from pvrbench.benchmark.probes.regression import columns_of, read_out, split_episodes, usable_readouts
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure
from pvrbench.common.options import parse_options
from pvrbench.envs.spec import Quantity


@dataclass(frozen=True, slots=True)
class StateOptions:
    """Options of `StateRegression`.

    Attributes:
        strayed_episodes: held-out episodes with a disturbed expert.
        stray_noise: standard deviation of the disturbance of its actions.
        stride: control steps between frames of these episodes.
        max_frames: frames to fit on, and of each kind to test on; more are thinned out evenly.
    """

    strayed_episodes: PositiveInt
    stray_noise: Annotated[float, Field(ge=0)]
    stride: PositiveInt
    max_frames: Annotated[int, Field(ge=10)]


class StateRegression:
    """Fits on the first four fifths of the demonstrations; tests on the others, and on strayed states.

    Args:
        spec: the catalog row.
    """

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.options = parse_options(StateOptions, spec.options, f"Probe {spec.name!r}")

    def run(self, subject: Subject) -> Findings:
        """R² and error in centimetres of each quantity that varies, by readout and kind of test frames.

        Raises:
            ProbeError: the task offers no privileged state, nothing in it varies, or there are too few demonstrations.
        """
        options = self.options
        names, notes = usable_readouts(subject)
        frames = subject.demonstrations()
        split = split_episodes(frames, options.max_frames)
        quantities = varying(subject, frames, split.train)
        strayed = subject.strayed(options.strayed_episodes, options.stray_noise, options.stride)
        targets, others = _targets(frames, quantities), _targets(strayed, quantities)
        columns = columns_of({item.name: (item.start, item.stop) for item in quantities})
        measures: list[Measure] = []
        for name in names:
            features = frames.features[name]
            train, test, far = read_out(
                subject, name, features[split.train], [features[split.test], strayed.features[name]]
            )
            probe = fit_linear(train, targets[split.train], torch.from_numpy(frames.episodes)[split.train], columns)
            for kind, rows, truth in (("held_out_demos", test, targets[split.test]), ("strayed", far, others)):
                measures += _measures(probe, rows, truth, quantities, (name, kind))
        return Findings(tuple(measures), notes)


def varying(subject: Subject, frames: Frames, rows: Tensor) -> list[Quantity]:
    """The named quantities of the task that vary over some frames; the whole state where nobody named any.

    Raises:
        ProbeError: the task offers no privileged state, or nothing in it varies.
    """
    spec = subject.task.spec
    if spec.state_dim == 0:
        raise ProbeError(f"{spec.name} offers no privileged state, so there is nothing to regress. Leave it out.")
    named = spec.quantities or (Quantity("state", 0, spec.state_dim),)
    states = torch.from_numpy(frames.privileged)[rows]
    spread = states.std(dim=0) > CONSTANT * states.abs().amax(dim=0).clamp(min=1e-3)
    found = [item for item in named if bool(spread[item.start : item.stop].any())]
    if not found:
        raise ProbeError(f"Nothing in the privileged state of {spec.name} varies over its demonstrations.")
    return found


def _targets(frames: Frames, quantities: list[Quantity]) -> Tensor:
    states = torch.from_numpy(frames.privileged)
    return torch.cat([states[:, item.start : item.stop] for item in quantities], dim=1).double()


def _measures(
    probe: LinearProbe, rows: Tensor, truth: Tensor, quantities: list[Quantity], place: tuple[str, str]
) -> list[Measure]:
    readout, kind = place
    predicted, columns = probe(rows), columns_of({item.name: (item.start, item.stop) for item in quantities})
    found: list[Measure] = []
    shares: dict[str, list[float]] = {"all": [], "positions": []}
    for item in quantities:
        part = columns[item.name]
        score = score_of(predicted[:, part], truth[:, part], probe.offset[part])
        if score is None:
            continue
        about = Measure(
            name="r2", of=item.name, readout=readout, on=kind, value=score.r2, reference=0.0, count=score.num_frames
        )
        found.append(about)
        shares["all"].append(score.r2)
        if item.unit == "m":
            shares["positions"].append(score.r2)
            error = {"name": "error_cm", "value": 100 * score.error, "reference": 100 * score.mean_error}
            found.append(about.model_copy(update=error))
    # Means over quantities: each counts once, whatever its unit and number of axes.
    return found + [
        Measure(
            name="r2", of=name, readout=readout, on=kind, value=sum(part) / len(part), reference=0.0, count=len(truth)
        )
        for name, part in shares.items()
        if part
    ]
