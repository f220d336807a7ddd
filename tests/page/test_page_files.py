"""The page keeps to what its content security policy and its readers rely on."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import airflow_orchestration

STATIC = Path(airflow_orchestration.__file__).parent / "plugins" / "static"
HTML, SCRIPT, STYLE = ((STATIC / name).read_text("utf-8") for name in ("page.html", "page.js", "page.css"))
MARKUP = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "DOMParser",
    "srcdoc",
    "eval(",
    "new Function",
)


class Elements(HTMLParser):
    """What stands in the page before the script runs."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.extend((tag, name, value or "") for name, value in attrs)


def _attributes() -> list[tuple[str, str, str]]:
    parser = Elements()
    parser.feed(HTML)
    return parser.attributes


@pytest.mark.parametrize("way", MARKUP)
def test_nothing_parses_markup(way: str) -> None:
    """Names come from strangers, so the script makes text nodes and knows no way to parse markup."""
    assert way not in SCRIPT


def test_no_script_or_style_stands_in_the_page() -> None:
    """The policy allows files of this server only: no inline script, style or handler."""
    assert [] == [it for it in _attributes() if it[1] == "style" or it[1].startswith("on")]
    assert [""] == re.findall(r"<script[^>]*>(.*?)</script>", HTML, re.DOTALL)
    assert "<style" not in HTML


def test_no_attribute_style_is_set_by_the_script() -> None:
    """The policy refuses attributes `style`, also those that a script sets."""
    assert not re.search(r"""[{,]\s*style:\s*[`"'](?!percent)|setAttribute\("style""", SCRIPT)


def test_the_script_can_be_read() -> None:
    """No line is wider than a screen, and no function longer than one."""
    functions = re.findall(r"^(?:async )?function (\w+)(.*?)^}", SCRIPT, re.DOTALL | re.MULTILINE)

    assert [] == [line for line in SCRIPT.splitlines() if len(line) > 160]
    assert [] == [name for name, body in functions if body.count("\n") > 40]


def test_addresses_are_relative() -> None:
    """The page works below any path of Airflow, and loads nothing from elsewhere."""
    addresses = [value for _, name, value in _attributes() if name in {"href", "src"}]
    assert [] == [it for it in addresses if it.startswith("/") or "://" in it]
    assert ["http://www.w3.org/2000/svg"] == re.findall(r"""https?://[^"'`]+""", SCRIPT)
    assert not re.search(r"""(get|fetch)\(\s*["'`]/""", SCRIPT)
    assert "url(" not in STYLE


def test_every_colour_has_a_dark_one() -> None:
    """What is named for light is named for dark, but for what is mixed of others."""
    light, dark = (
        set(re.findall(r"--[a-z-]+(?=:)", block))
        for block in re.findall(r":root[^{]*\{(.*?)\n\}", STYLE, re.DOTALL)[:2]
    )
    assert {"--card"} == light - dark
    assert set() == dark - light
