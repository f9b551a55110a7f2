"""A finished run without its hours: the cells of a real plan with made-up outcomes, which are never results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.plan import Job, make_plan
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import CellRecord, Cost, Digests, Episode, Provenance
from pvrbench.benchmark.records.store import RecordStore

MakeRun = Callable[..., Path]

RATES = {"pixels_14": 0.9, "pixels_7": 0.3, "oracle": 1.0, "proprio": 0.1}


def made_record(
    job: Job, cell: Cell, wins: Mapping[int, bool], digests: Mapping[str, str] | None = None, stopped: str = ""
) -> CellRecord:
    """A record of a planned cell with known outcomes by initial state."""
    given = {"initial_states": "s", "simulator": "3.3.0", "commit": "", "licence": "MIT"} | dict(digests or {})
    return CellRecord(
        cell=cell,
        settings=job.settings[cell.head],
        digests=Digests(
            initial_states=given["initial_states"],
            demos="d",
            encoder=given.get(cell.encoder, cell.encoder),
            simulator={"mujoco": given["simulator"]},
        ),
        provenance=Provenance(
            version="0",
            commit=given["commit"],
            python="3",
            packages={},
            platform="none",
            device="cpu",
            gl="",
            tile=8,
            encoder={"licence": given["licence"], "non_commercial": False},
        ),
        cost=Cost(encoder_params=1000, readout_params=0, head_params=9, flops_per_frame=10**6, feature_dim=1),
        train_log={},
        failure=None,
        episodes=tuple(
            Episode(index=index, seed=100 + index, success=win, num_steps=10) for index, win in sorted(wins.items())
        ),
        stopped=stopped,
        timing={"encoder_ms_in_tile": 1.5},
        recorded_at="2026-01-01T00:00:00+00:00",
    )


def make_run(
    run_dir: Path, *overrides: str, rates: Mapping[str, float] = RATES, digests: Mapping[str, str] | None = None
) -> Path:
    """Writes records and configuration; `digests` replaces content hashes of the initial states or an encoder."""
    config = compose_config(
        [
            "preset=quickstart",
            f"encoders=[{','.join(rates)}]",
            "baselines=[]",
            "readouts=[pooled]",
            "num_demos=[5,10,25]",
            "seeds=[0,1,2]",
            "num_episodes=20",
            *overrides,
        ]
    )
    store = RecordStore(run_dir)
    for job in make_plan(config).jobs:
        name = job.encoder.name
        for cell in job.cells:
            generator = np.random.default_rng(int(cell.key, 16))
            wins = generator.uniform(size=config.num_episodes) < rates.get(name, 0.5) * (1 - 1 / cell.num_demos)
            store.write(made_record(job, cell, dict(enumerate(map(bool, wins))), digests))
    (run_dir / "config.json").write_text(config.model_dump_json())
    return run_dir


@pytest.fixture(scope="session")
def make_record() -> Callable[..., CellRecord]:
    return made_record


@pytest.fixture(scope="session", name="make_run")
def make_run_fixture() -> MakeRun:
    return make_run


@pytest.fixture(scope="session")
def made_up_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tests only read."""
    return make_run(tmp_path_factory.mktemp("made_up") / "run")
