"""Makes pages of files at the top of the repository, and makes links to them links to these pages."""

from __future__ import annotations

import os
import re

from docs.site_pages.text import DOCS, REPOSITORY

TOP_PAGES = {"README.md": "generated/overview", "CHANGELOG.md": "generated/changelog"}
"""File -> page of the site."""
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")
ABOVE = re.compile(r"\]\((\.\./[^)#]+\.md)")


def moved(file: str, folder: str) -> str:
    """Return a file of the top as a page in `docs/<folder>`, with its links leading where they led."""
    at = DOCS / folder

    def there(match: re.Match[str]) -> str:
        return "](" + os.path.relpath(REPOSITORY / match[1], at)

    return LINK.sub(there, (REPOSITORY / file).read_text())


def to_pages(text: str, name: str) -> str:
    """Return the text of the page `name` with links to the pages of `TOP_PAGES`.

    Another Markdown file outside of the site is linked as the file that it is.
    """
    at = (DOCS / name).parent

    def there(match: re.Match[str]) -> str:
        target = (at / match[1]).resolve()
        if target.is_relative_to(DOCS):
            return match[0]
        page = TOP_PAGES.get(str(target.relative_to(REPOSITORY)))
        return f"](path:{match[1]}" if page is None else "](" + os.path.relpath(DOCS / f"{page}.md", at)

    return ABOVE.sub(there, text)
