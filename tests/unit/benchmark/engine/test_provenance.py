"""What records say of the program that made them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pvrbench.benchmark.engine import provenance
from pvrbench.benchmark.engine.provenance import source_commit


def test_commit_is_dirty_with_changed_code_but_not_with_records_that_a_run_wrote(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    (tmp_path / "results").mkdir()
    code, record = tmp_path / "code.py", tmp_path / "results" / "record.json"
    code.write_text("1")
    record.write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = source_commit(tmp_path)
    record.write_text("2")
    with_record = source_commit(tmp_path)
    code.write_text("2")

    assert with_record == clean
    assert source_commit(tmp_path) == f"{clean}-dirty"


def test_the_commit_is_that_of_the_code_that_runs_whatever_is_checked_out_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    checked_out = iter(["first", "", "second", ""])

    def git(*_: object) -> str:
        return next(checked_out)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "_git", git)
    provenance.own_commit.cache_clear()
    try:
        assert [source_commit(), source_commit()] == ["first", "first"]
    finally:
        provenance.own_commit.cache_clear()


def test_no_commit_outside_a_checkout(tmp_path: Path) -> None:
    assert source_commit(tmp_path) == ""
