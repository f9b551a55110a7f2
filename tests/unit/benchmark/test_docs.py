"""The Python in the documentation runs as it is printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_python_in_the_docs_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_run: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rates = {"zoo_mae": 0.9, "zoo_clip": 0.4}
    make_run(tmp_path / "results" / "runs" / "quickstart", "readouts=[class_token,grid_pca]", rates=rates)
    monkeypatch.chdir(tmp_path)
    blocks = [
        (page, block)
        for page in sorted(DOCS.glob("**/*.md"))
        if "_build" not in page.parts
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    ]
    assert len(blocks) > 3
    for page, block in blocks:
        exec(compile(block, str(page), "exec"), {"__name__": "docs"})  # noqa: S102 - what a reader would run
        assert capsys.readouterr().out or "print(" not in block, page
