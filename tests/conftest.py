"""Fixtures for all tests: a cache of demonstrations and frames that the whole session shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


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
