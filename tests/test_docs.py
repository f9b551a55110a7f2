"""What the documentation tells a reader to type is understood, and its Python runs."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvrbench.benchmark.commands.catalogs import CATALOGS
from pvrbench.benchmark.commands.help import settings_of
from pvrbench.benchmark.commands.verb import RunSettings, read_words
from pvrbench.benchmark.commands.verbs import VERBS
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import ConfigError

ROOT = Path(__file__).resolve().parent.parent
# The pages in docs/reference are generated.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")),
    *(page for place in ("*.md", "tutorials/*.md", "how-to/*.md") for page in sorted((ROOT / "docs").glob(place))),
]
# What stands for something: `pvrbench evaluate RUN_DIR key=value...`.
PLACEHOLDER = re.compile(r"\.\.\.|…|key=value|<|VERB|\|| \[")


def commands(page: Path) -> Iterator[tuple[str, bool]]:
    """Commands without placeholders, and whether they are in a block, to be typed as they are."""
    text = page.read_text().replace("\\\n", " ")
    # Lines of code blocks are set in, so that a sentence that begins with the name is none of them.
    text = re.sub(r"```sh\n(.*?)```", lambda block: re.sub("(?m)^", "    ", block[1]), text, flags=re.DOTALL)
    for block, inline in re.findall(r"^ {4,7}(pvrbench .+)$|`(pvrbench [^`]+)`", text, flags=re.MULTILINE):
        line = re.split(r" # | > |  #", re.sub(r"\n", " ", block or inline))[0].strip()
        if not PLACEHOLDER.search(line):
            yield line, bool(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_understood(page: Path) -> None:
    for command, is_typed in commands(page):
        _, name, *words = shlex.split(command)
        if name.startswith("-") or "--help" in words:
            continue
        assert name in VERBS, command
        try:
            settings = read_words(VERBS[name], words)
        except ConfigError as error:
            # A command that is spoken of in a sentence may leave out what it is about.
            if is_typed or " needs " not in str(error):
                raise
            continue
        if isinstance(settings, RunSettings):
            compose_config(settings.overrides)


def test_commands_are_found() -> None:
    assert sum(len([*commands(page)]) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_clone_leads_somewhere(page: Path) -> None:
    """Nothing is linked that is made with the site alone; headings are named as GitHub and the site name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not path.is_relative_to(ROOT / "docs" / "reference"), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", path.read_text())
            anchors = {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings}
            assert anchor in anchors, target


def test_every_page_is_linked_from_the_first() -> None:
    """On the web page of the repository the site's contents are not there."""
    docs = ROOT / "docs"
    text = (docs / "index.md").read_text()
    linked = {(docs / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)\)", text)}
    pages = [page for page in PAGES if page.is_relative_to(docs) and page.name != "index.md"]
    assert [page.name for page in pages if page not in linked] == []


def test_the_page_of_presets_is_that_of_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    written = importlib.import_module("reference").presets_page()
    committed = (ROOT / "docs" / "presets.md").read_text()
    assert committed == written, "run `python docs/reference.py`"


def test_the_generated_pages_name_every_verb_and_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    importlib.import_module("reference").write_reference(tmp_path)
    written = {page.stem: page.read_text() for page in tmp_path.glob("*.md")}
    for name, verb in VERBS.items():
        assert f"## `pvrbench {name}`" in written["commands"]
        assert all(f"| `{row.path}` |" in written["settings"] for row in settings_of(verb))
    for kind, load in CATALOGS.items():
        assert all(f"| `{name}` |" in written[kind] for name in load().usable()[0]), kind
