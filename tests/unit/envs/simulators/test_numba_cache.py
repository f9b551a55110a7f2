"""robosuite can be imported where neither its own folder nor the home folder may be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pvrbench.envs.simulators import numba_cache


def refuse(_path: object, _mode: int) -> bool:
    return False


def test_a_folder_is_given_only_where_nothing_may_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    numba_cache.prepare_numba_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
    # As an unprivileged user on a read-only installation; the tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", refuse)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    numba_cache.prepare_numba_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
