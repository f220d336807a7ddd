"""How Sphinx makes the site of these pages: `make docs`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import mkdtemp

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Importing airflow writes its settings there.
os.environ.setdefault("AIRFLOW_HOME", mkdtemp(prefix="airflow-home-"))

from docs.site_pages import reference
from docs.site_pages.from_above import TOP_PAGES, moved, to_pages
from docs.site_pages.text import DOCS, write

project = "Airflow Orchestration"
release = version_of("airflow-provider-orchestration")
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
highlight_language = "none"  # a block without a language is what is typed, or printed
myst_heading_anchors = 4
html_theme = "furo"
html_title = project
html_show_copyright = False
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
MADE = "generated"
"""The folder of pages that are made of the code, and so in no commit."""


def setup(app: Sphinx) -> None:
    """Make the pages that are made of the code, before any is read."""
    app.connect("builder-inited", _generate)
    app.connect("source-read", _link_to_pages)


def _generate(_: Sphinx) -> None:
    for file, page in TOP_PAGES.items():
        write(DOCS / f"{page}.md", moved(file, MADE))
    for name, text in reference.pages().items():
        write(DOCS / MADE / f"{name}.md", text)


def _link_to_pages(_: Sphinx, name: str, source: list[str]) -> None:
    source[0] = to_pages(source[0], name)
