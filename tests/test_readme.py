"""Every command of the README works as printed, in a folder of one's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()

# What these do is what the whole test run and the quickstart do.
NOT_RUN_HERE = {"make quickstart", "make test", "source .venv/bin/activate"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("readme")
def test_the_commands_work_as_printed(tmp_path: Path, shared_cache: Path) -> None:
    assert set(commands()) >= NOT_RUN_HERE
    notebook, encoder = blocks("python")
    (tmp_path / "my_encoder.py").write_text(encoder)
    (tmp_path / "notebook.py").write_text(f"if __name__ == '__main__':\n{textwrap.indent(notebook, '    ')}")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shell = shutil.which("zsh") or "bash"
    for command in [*commands(), "python notebook.py"]:
        if command in NOT_RUN_HERE:
            continue
        result = subprocess.run(
            [shell, "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    assert (tmp_path / "results" / "runs" / "first" / "report" / "curves.png").exists()
    assert (tmp_path / "results" / "runs" / "first" / "evaluations" / "darker" / "report" / "report.md").exists()
    assert (tmp_path / "results" / "runs" / "notebook" / "report" / "report.md").exists()
    assert (tmp_path / "results" / "runs" / "mine" / "report" / "report.md").exists()
    videos = list((tmp_path / "results" / "runs" / "first" / "videos").glob("*.mp4"))
    assert videos
    assert all(path.stat().st_size > 1000 for path in videos)


def test_the_encoder_of_the_readme_is_ten_lines() -> None:
    lines = [line for line in blocks("python")[1].splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 10


def test_links_and_pictures_are_there() -> None:
    root = Path(__file__).resolve().parent.parent
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (root / target).exists()] == []


def test_lists_in_commands_are_quoted_for_every_shell() -> None:
    """zsh takes a bare `[...]` for a pattern of file names and refuses the command."""
    root = Path(__file__).resolve().parent.parent
    pages = [root / "README.md", root / "results" / "README.md", *(root / "docs").glob("*.md")]
    bare = re.compile(r"pvrbench [a-z][^`\n]*\s[\w.]+=\[")
    found = [f"{page.name}: {line}" for page in pages for line in page.read_text().splitlines() if bare.search(line)]
    assert found == []
