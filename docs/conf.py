"""Settings of the documentation site; `make docs` builds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from reference import write_reference
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
# What a page of the repository names by its command is a page of the site: docs/reference/ is made with the site alone.
LISTED = re.compile(r"(?<![`\[])`pvrbench list (\w+)`(?![`\]])")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(?:#[^)]*)?\)")

project = "pvrbench"
author = "The pvrbench authors"
project_copyright = "the pvrbench authors, MIT licence"
html_title = "pvrbench"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "README.md"]
html_theme = "furo"
# The records' JSON Schema is linked as a file.
html_extra_path = ["record.schema.json"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_url_schemes = ["http", "https", "mailto"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_custom_sections = ["Source"]


def setup(app: Sphinx) -> None:
    """Writes the generated pages before the site is read."""
    app.connect("builder-inited", lambda app: write_reference(Path(app.srcdir) / "reference"))
    app.connect("source-read", name_repository_files)
    app.connect("source-read", link_reference)


def name_repository_files(_app: Sphinx, page: str, source: list[str]) -> None:
    """A link to a file outside `docs/` becomes the file's path in the repository, which the site does not hold."""
    folder = (DOCS / page).parent

    def named(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(DOCS):
            return link[0]
        if not target.exists():
            logging.getLogger(__name__).warning("link to a file that is not there: %s", link[2], location=page)
        path = target.relative_to(DOCS.parent)
        return f"`{path}`" if link[1].strip("`").rstrip("/") in {str(path), path.name} else f"{link[1]} (`{path}`)"

    source[0] = LINK.sub(named, source[0])


def link_reference(app: Sphinx, page: str, source: list[str]) -> None:
    """The command that lists a catalog becomes a link to the generated page of that catalog."""
    if page.startswith("reference/"):
        return
    root = "../" * page.count("/")

    def linked(command: re.Match[str]) -> str:
        is_there = (Path(app.srcdir) / "reference" / f"{command[1]}.md").exists()
        return f"[{command[0]}]({root}reference/{command[1]}.md)" if is_there else command[0]

    source[0] = LISTED.sub(linked, source[0])
