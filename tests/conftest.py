"""Fixtures for all tests: a cache of demonstrations and frames that the whole session shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Test processes share the cores: threads in each would wait for one another.
torch.set_num_threads(1)

OPT_IN = {
    "slow": "minutes rather than seconds: run with -m slow",
    "gpu": "needs a CUDA device: run with -m gpu",
    "cluster": "starts Slurm or Ray on this machine: run with make test-cluster",
    "weights": "needs released weights: run with -m weights",
}


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that is empty at first; demonstrations collected by one test serve the others."""
    folder = tmp_path_factory.mktemp("cache")
    old = os.environ.get("PVRBENCH_CACHE")
    os.environ["PVRBENCH_CACHE"] = str(folder)
    yield folder
    if old is None:
        del os.environ["PVRBENCH_CACHE"]
    else:
        os.environ["PVRBENCH_CACHE"] = old


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves opt-in tests out of the default run, and says so in its summary."""
    if config.getoption("-m"):
        return
    for item in items:
        for marker, reason in OPT_IN.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
