"""Texts on the terminal are what the user wrote, and a terminal that lacks a letter costs no results."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pvrbench.benchmark.commands.verb import terminal


def test_brackets_and_colons_are_letters(capsys: pytest.CaptureFixture[str]) -> None:
    terminal().print("results/runs/a[b][/c] :boom: [bold]x[/bold]")
    assert capsys.readouterr().out == "results/runs/a[b][/c] :boom: [bold]x[/bold]\n"


def test_a_terminal_of_ascii_shows_other_letters_as_codes() -> None:
    command = [sys.executable, "-m", "pvrbench", "plan", "preset=quickstart", "name=caf\u00e9"]
    result = subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "results/runs/caf\\xe9" in result.stdout
    # Names are searched for: none is cut where the output goes into a file or another program.
    assert " metaworld/button-press-topdown-v3 " in result.stdout
