"""Hostile texts in every place of a session: none of them acts in the report, in Markdown or in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.report.sessions_made import HOSTILE, hostile_session, made_session, written
from wfgy_triage.catalog import load_catalog
from wfgy_triage.report.compare import Pairing, compare
from wfgy_triage.report.compare_html import comparison_page
from wfgy_triage.report.export.markdown_text import code, fenced, plain
from wfgy_triage.report.export.tables import safe_cell
from wfgy_triage.ui.exports import export_menu

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
ATTACKS = (
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example","x")', "-2+3+cmd|' /C calc'!A0", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x",
)  # fmt: skip


class Page(HTMLParser):
    """Collects what a browser would build."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@cache
def hostile():
    return hostile_session()


def inert(html: str) -> None:
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    for tag, attributes in page.tags:
        assert not [a for a in attributes if a.startswith("on")], (tag, attributes)
        for where in ("href", "src", "xlink:href", "action"):
            address = attributes.get(where) or ""
            assert not address.lower().strip().startswith("javascript:")
            assert "evil.example" not in address or address.startswith("data:")
    assert "<img" not in html
    assert "<script" not in html


def test_the_hostile_session_is_hostile_in_most_places():
    assert str(hostile().result.to_json()).count("onerror") > 60


def test_nothing_in_the_report_acts():
    html = written(hostile(), "html")
    inert(html)
    assert "&lt;img src=x onerror=boom()&gt;" in html
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script" not in policy[1]


def test_nothing_in_a_comparison_acts():
    other = made_session()
    for pair in ((hostile(), other), (other, hostile())):
        inert(comparison_page(compare(*pair, Pairing(reason=HOSTILE)), load_catalog()))


def test_the_menu_names_only_the_session():
    inert(export_menu('"><img src=x onerror=boom()>'))


def test_nothing_in_markdown_breaks_out():
    text = written(hostile(), "markdown")
    tokens = MARKDOWN.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    kinds = {t.type for t in [*tokens, *inline]}
    assert not kinds & {"html_block", "html_inline", "image"}
    links = [t.attrs["href"] for t in inline if t.type == "link_open"]
    assert links
    assert all(str(a).startswith("https://github.com/onestardao/") for a in links)
    titles = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert len(titles) == 6
    fences = [t.content for t in tokens if t.type == "fence"]
    assert HOSTILE + "exl2\n" in fences
    shown = "".join(t.content for t in inline if t.type == "text")
    assert "@everyone" not in shown  # a zero-width space stands between
    assert "https://evil" not in shown


@given(st.text(max_size=200))
def test_any_text_is_one_inert_line_of_markdown(text: str):
    tokens = MARKDOWN.parse(f"Said: {plain(text)}")
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {c.type for c in tokens[1].children or ()} <= {"text", "text_special"}


@given(st.text(alphabet=st.characters(exclude_categories=("C",)), min_size=1, max_size=80))
def test_code_shows_the_text_itself(text: str):
    flat = " ".join(text.split())
    tokens = MARKDOWN.parse(f"Said: {code(text)} end")
    found = [c.content for c in tokens[1].children or () if c.type == "code_inline"]
    assert found == ([flat] if flat else [])


@given(st.text(alphabet="`~ab\n#>-", max_size=80))
def test_a_fence_holds_whatever_is_in_it(text: str):
    tokens = MARKDOWN.parse(f"before\n\n{fenced(text)}\n\nafter")
    assert [t.type for t in tokens if t.type in ("fence", "heading_open", "hr", "bullet_list_open")] == [
        "fence"
    ]
    assert next(t.content for t in tokens if t.type == "fence").rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_spreadsheet_takes_a_text_for_a_formula(attack: str):
    assert safe_cell(attack) == f"'{attack}"


@pytest.mark.parametrize("value", [-0.213, 0.0, 5, "plain", "a=b", "", None])
def test_numbers_and_ordinary_texts_stay_what_they_are(value):
    assert safe_cell(value) == value


def test_every_text_of_the_tables_is_guarded():
    for form in ("csv", "answers-csv"):
        rows = list(csv.reader(io.StringIO(written(hostile(), form))))
        assert len({len(row) for row in rows}) == 1
        bad = [
            c for row in rows for c in row if c[:1] in "=+-@\t\r" and c and not re.fullmatch(r"-?[\d.e-]+", c)
        ]
        assert bad == []
