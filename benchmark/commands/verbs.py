"""The verbs of the command line, by name, in the order of the help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pvrbench.benchmark.commands.catalogs import CHECK_ENCODER, CHECK_HEAD, CHECK_TASK, LIST
from pvrbench.benchmark.commands.demos import DEMOS
from pvrbench.benchmark.commands.distilling import DISTIL
from pvrbench.benchmark.commands.frames import FRAMES
from pvrbench.benchmark.commands.imagine import IMAGINE
from pvrbench.benchmark.commands.machine import CACHE, DOCTOR
from pvrbench.benchmark.commands.power import POWER
from pvrbench.benchmark.commands.pretraining import PRETRAIN
from pvrbench.benchmark.commands.probe import PROBE
from pvrbench.benchmark.commands.results import EXPORT, LEADERBOARD, PACK, RANK, REPORT, SUBMIT
from pvrbench.benchmark.commands.run import EVALUATE, PLAN, RUN, STATUS
from pvrbench.benchmark.commands.spair import SPAIR
from pvrbench.benchmark.commands.verb import Verb
from pvrbench.benchmark.commands.weights import WEIGHTS

VERBS: Mapping[str, Verb[Any]] = {
    verb.name: verb
    for verb in (
        *(RUN, PLAN, EVALUATE, STATUS, PROBE, IMAGINE, SPAIR),
        *(REPORT, RANK, POWER, SUBMIT, LEADERBOARD, PACK, EXPORT),
        *(LIST, CHECK_ENCODER, CHECK_TASK, CHECK_HEAD),
        *(DEMOS, WEIGHTS, DOCTOR, CACHE, FRAMES, PRETRAIN, DISTIL),
    )
}
