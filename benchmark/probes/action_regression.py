"""Linear probe of the expert's action: what a behaviour-cloning head has to find, without training one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pvrbench.benchmark.probes.base import Findings, Frames, Subject
from pvrbench.benchmark.probes.linear import fit_linear, score_of
from pvrbench.benchmark.probes.regression import Split, read_out, split_episodes, usable_readouts
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure
from pvrbench.common.options import parse_options


@dataclass(frozen=True, slots=True)
class ActionOptions:
    """Options of `ActionRegression`.

    Attributes:
        max_frames: frames to fit on, and to test on; more are thinned out evenly.
    """

    max_frames: Annotated[int, Field(ge=10)]


class ActionRegression:
    """Fits on the first four fifths of the demonstrations and tests on the others.

    It reads what a head reads: proprioception stands beside the features where heads are given it. The reference is
    proprioception alone.

    Args:
        spec: the catalog row.
    """

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.options = parse_options(ActionOptions, spec.options, f"Probe {spec.name!r}")

    def run(self, subject: Subject) -> Findings:
        """R² of the motion and of the gripper's command, the mean of both, by readout.

        Raises:
            ProbeError: there are too few demonstrations, or no readout that can be probed.
        """
        names, notes = usable_readouts(subject)
        frames = subject.demonstrations()
        split = split_episodes(frames, self.options.max_frames)
        proprio = torch.from_numpy(frames.proprio)
        alone = _scores(frames, split, proprio[split.train], proprio[split.test])
        measures: list[Measure] = []
        for name in names:
            features = frames.features[name]
            parts = read_out(subject, name, features[split.train], [features[split.test]])
            if subject.use_proprio:
                parts = [
                    torch.cat([part, proprio[rows]], dim=1)
                    for part, rows in zip(parts, (split.train, split.test), strict=True)
                ]
            for what, value in _scores(frames, split, *parts).items():
                measures.append(
                    Measure(
                        name="r2",
                        of=what,
                        readout=name,
                        on="held_out_demos",
                        value=value,
                        reference=alone.get(what),
                        count=len(split.test),
                    )
                )
        return Findings(tuple(measures), notes)


def _scores(frames: Frames, split: Split, train: Tensor, test: Tensor) -> dict[str, float]:
    """R² on the held-out episodes: `motion`, `gripper` (the last number of an action), and the mean of both, `all`."""
    actions = torch.from_numpy(frames.actions).double()
    width = actions.shape[1]
    columns = (
        {"motion": slice(0, width - 1), "gripper": slice(width - 1, width)} if width > 1 else {"motion": slice(0, 1)}
    )
    probe = fit_linear(train, actions[split.train], torch.from_numpy(frames.episodes)[split.train], columns)
    predicted, truth = probe(test), actions[split.test]
    found: dict[str, float] = {}
    for name, part in columns.items():
        score = score_of(predicted[:, part], truth[:, part], probe.offset[part])
        if score is not None:
            found[name] = score.r2
    return {**found, "all": sum(found.values()) / len(found)} if found else {}
