"""What all packages share: entry points, options, verdicts, and the code that an object depends on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import PositiveInt

from pvrbench.common.code import code_digest, describe_error, is_local, local_files
from pvrbench.common.options import OptionError, parse_options
from pvrbench.common.reference import EntryPointError, resolve
from pvrbench.common.verdict import Verdict, attempt


def test_an_entry_point_is_resolved() -> None:
    assert resolve("pathlib:Path") is Path
    assert resolve("pathlib:Path.cwd") == Path.cwd


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("pathlib", "'pathlib' is not an entry point. Write it as module:attribute"),
        (":Path", "is not an entry point"),
        ("no_such_module:x", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("pathlib:Path.absent", "pathlib has no attribute 'Path.absent'"),
    ],
)
def test_an_entry_point_that_names_nothing_is_told_in_one_line(entry_point: str, message: str) -> None:
    with pytest.raises(EntryPointError, match=message):
        resolve(entry_point)


@dataclass(frozen=True)
class Options:
    widths: tuple[PositiveInt, ...] = (4,)
    rate: float = 0.5


def test_options_take_defaults_and_lists_become_tuples() -> None:
    assert parse_options(Options, {}, "Head 'x'") == Options()
    assert parse_options(Options, {"widths": [1, 2], "rate": 1}, "Head 'x'") == Options((1, 2), 1.0)


@pytest.mark.parametrize("value", [[0], ["1"], [True], 3, "ab"])
def test_an_option_of_another_type_is_named_with_its_owner(value: object) -> None:
    with pytest.raises(OptionError, match=r"Head 'x': option widths.* is not valid: ") as error:
        parse_options(Options, {"widths": value}, "Head 'x'")
    assert "\n" not in str(error.value)


def test_an_error_inside_a_check_becomes_a_sentence() -> None:
    def fails() -> str:
        raise KeyError("frozen")

    problem = attempt(fails)
    assert problem.startswith("It raised KeyError: 'frozen' (test_common.py, line ")
    assert not Verdict("kept", problem).is_kept
    assert Verdict("kept", attempt(lambda: "")).is_kept


def test_an_error_without_local_code_is_described_without_a_place() -> None:
    assert describe_error(ValueError("two\nlines")) == "ValueError: two lines"


def test_code_covers_what_is_imported_in_any_way_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "zz_top.py": "import json, torch, zz_pack.inner\ndef late():\n    from zz_late import VALUE as v\n",
        "zz_late.py": "VALUE = 1\n",
        "zz_pack/__init__.py": "from . import beside\n",
        "zz_pack/inner.py": "from .deeper import *\n",
        "zz_pack/deeper.py": "X = 1\n",
        "zz_pack/beside.py": "Y = 1\n",
        "zz_other.py": "Z = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in local_files(["zz_top"]).values()}
    assert found == {*files} - {"zz_other.py"}
    assert "zz_top" not in sys.modules
    before = code_digest(["zz_top"])
    (tmp_path / "zz_other.py").write_text("Z = 2\n")
    assert code_digest(["zz_top"]) == before
    (tmp_path / "zz_pack" / "deeper.py").write_text("X = 2\n")
    assert code_digest(["zz_top"]) != before


def test_code_of_pvrbench_the_standard_library_and_installed_packages_is_not_local() -> None:
    import json

    import torch

    import pvrbench.common.code as own

    for module in (json, torch, own):
        assert not is_local(Path(str(module.__file__)))
    assert is_local(Path(__file__))
    assert local_files(["pvrbench.encoders.catalog", "json"]) == {}
