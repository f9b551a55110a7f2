"""The grammar of the command line: `pvrbench VERB SUBJECT... key=value... --json`."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

import pvrbench
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.commands.demos import DEMOS
from pvrbench.benchmark.commands.frames import FRAMES
from pvrbench.benchmark.commands.help import settings_of
from pvrbench.benchmark.commands.results import RANK
from pvrbench.benchmark.commands.verb import read_words
from pvrbench.benchmark.commands.verbs import VERBS
from pvrbench.benchmark.commands.weights import WEIGHTS
from pvrbench.benchmark.composition import EVALUATION_KEYS, compose_config


def test_subjects_have_a_place_and_settings_a_key_in_any_order() -> None:
    settings = read_words(DEMOS, ["num=7", "collect", "noise=0.1", "metaworld/assembly-v3", "file=~/a b=c[1].hdf5"])
    assert (settings.action, settings.task, settings.num, settings.noise) == (
        "collect",
        "metaworld/assembly-v3",
        7,
        0.1,
    )
    assert settings.file == Path.home() / "a b=c[1].hdf5"
    assert settings.horizon is None


def test_the_last_subject_may_be_several_and_forms_of_output_are_flags() -> None:
    settings = read_words(RANK, ["one", "--json", "two", "look=light/darker@2"])
    assert settings.run_dirs == (Path("one"), Path("two"))
    assert (settings.as_json, settings.as_csv, settings.look) == (True, False, "light/darker@2")
    assert read_words(WEIGHTS, ["list"]).names == ()
    assert read_words(FRAMES, ["collect", "x", "tasks=[a/b,c/d]"]).tasks == ("a/b", "c/d")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demos", "collect", "x", "--num", "5"], "Settings have no dashes: write num=5 instead of --num 5."),
        (["demos", "collect", "x", "--num=5"], "write num=5 instead of --num=5."),
        (["submit", "x", "--skip-conformance"], "write skip_conformance=true instead of --skip-conformance."),
        (["frames", "collect", "x", "--tasks", "a", "b"], "write 'tasks=[a,b]' instead of --tasks a b."),
        (["frames", "collect", "x", "--frames-per-clip", "3"], "write frames_per_clip=3 instead of"),
        (["run", "--preset", "quickstart"], "write preset=quickstart instead of --preset quickstart."),
        (["plan", "--num-demos", "5", "10"], "write 'num_demos=[5,10]' instead of --num-demos 5 10."),
        (["export", "x", "--to", "wandb"], "to is written without its name: pvrbench export model-card|"),
        (["rank", "x", "--jsn"], "`pvrbench rank` has no flag --jsn; it has --json, --csv."),
        (["demos", "collect"], "`pvrbench demos` needs TASK. Write it as pvrbench demos collect|"),
        (["demos", "colect", "x"], "action='colect' is not valid"),
        (["demos", "colect", "x"], "Did you mean 'collect'?"),
        (["demos", "collect", "x", "y"], "'y' is not a setting. Write key=value, for instance num=..."),
        (["demos", "collect", "x", "numm=5"], "Unknown setting 'numm'. Did you mean 'num'?"),
        (["demos", "collect", "x", "zzz=5"], "`pvrbench list settings demos` shows all 5."),
        (["demos", "collect", "x", "num=few"], "num='few' is not valid"),
        (["demos", "collect", "task=x"], "task is written without its name: pvrbench demos collect|"),
        (["doctor", "now"], "'now' is not a setting. Write pvrbench doctor [--json]."),
        (["run", "num_demos"], "'num_demos' is not a setting. Write key=value, for instance num_demos=[5,10,25]."),
        (["rnu"], "Unknown verb 'rnu'. Did you mean 'run'?"),
        (["list", "encodrs"], "Did you mean 'encoders'?"),
        (["list", "settings", "demso"], "Unknown verb 'demso'. Did you mean 'demos'?"),
    ],
)
def test_what_is_not_understood_is_answered_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_says_what_each_setting_means(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: pvrbench {verb}")
    assert main(["list", "settings", verb, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["meaning"] and row["type"] for row in rows.values())
    schema = VERBS[verb].settings.model_json_schema()["properties"]
    assert [name for name, field in schema.items() if not field.get("description")] == []


def test_settings_of_a_run_are_listed_with_the_defaults_of_the_standard_protocol(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "settings", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["num_demos"] == {"type": "list", "default": "[5,10,25]", "meaning": "Numbers of demonstrations."}
    assert (rows["train.num_updates"]["default"], rows["horizon"]["default"]) == ("3000", "null")
    assert "deviations" not in rows
    typed = [f"{key}={row['default']}" for key, row in rows.items()]
    assert compose_config(typed) == compose_config([]).model_copy(update={"preset": "standard"})
    assert main(["list", "settings", "evaluate", "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert {key for key in evaluation if "." not in key} == set(EVALUATION_KEYS)


def test_every_documented_command_is_understood() -> None:
    """What stands in code of the docs has verbs and keys that exist, and no flag of old."""
    root = Path(__file__).resolve().parents[4]
    pages = [
        root / "README.md",
        root / "CONTRIBUTING.md",
        root / "results" / "README.md",
        *(root / "docs").glob("*.md"),
    ]
    found = [
        (page.name, line)
        for page in pages
        for line in re.findall(r"pvrbench ([a-z][a-z-]*[^`\n]*)", page.read_text())
        if line.split()[0] in VERBS
    ]
    assert len(found) > 30
    assert [item for item in found if re.search(r"\s--(?!json|csv|slurm|help)[a-z]", item[1].partition("#")[0])] == []
    for page, line in found:
        verb = VERBS[line.split()[0]]
        known = {row.path.partition(".")[0] for row in settings_of(verb)}
        typed = set(re.findall(r"[\s']([a-z_]+)(?:\.[a-z_]+)?=", line.partition("#")[0])) - {"key"}
        assert typed <= known, f"{page}: pvrbench {line}"


def advised_commands(path: Path) -> set[str]:
    """Commands between backquotes in the texts of a module, but for docstrings; `5` stands for what is filled in."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "5" for part in parts)
        if id(node) not in docstrings:
            found |= {command for command in re.findall(r"`pvrbench ([a-z-]+[^`]*)`", text) if "|" not in command}
    return found


def test_every_command_that_an_advice_gives_is_understood() -> None:
    root = Path(pvrbench.__file__).resolve().parents[1]
    folders = [root / name for name in ("benchmark", "encoders", "envs", "policies")]
    found = {command for folder in folders for path in folder.rglob("*.py") for command in advised_commands(path)}
    assert len(found) > 15
    for command in sorted(found):
        name, *words = shlex.split(command)
        assert name in VERBS, f"pvrbench {command}"
        needed = VERBS[name].settings.subjects
        # A verb may be named alone, or with its first word.
        if words and words != ["--help"] and len(words) >= len(needed):
            read_words(VERBS[name], words)
