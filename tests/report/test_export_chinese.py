"""The report in Chinese: nothing of the program's own words is left in English, and foreign texts stay inert."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import scripted, scripted_trials
from tests.report.sessions_made import HOSTILE, hostile_session, made_session
from tests.report.test_export_hostile import inert
from wfgy_triage.catalog import load_catalog
from wfgy_triage.errors import InputError
from wfgy_triage.report.export.formats import FORMATS, export
from wfgy_triage.report.export.html import shared_html
from wfgy_triage.report.export.redact import redacted
from wfgy_triage.report.export.session import Session
from wfgy_triage.store.comments import Comment
from wfgy_triage.workload.json_records import load_json_workload

CATALOG = load_catalog()
TWO_WORDS = re.compile("[a-z]{3,} [a-z]{2,}")
CHINESE = re.compile("[\u4e00-\u9fff]")
VOID = {"meta", "br", "input", "link", "img"}


class Said(HTMLParser):
    """What a document says itself, and what it quotes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.own: list[str] = []
        self.foreign: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        around = bool(self._open) and self._open[-1][1]
        foreign = around or tag in ("pre", "code", "style") or values.get("translate") == "no"
        self.own += [values[n] or "" for n in ("aria-label", "title", "alt") if n in values and not foreign]
        if tag not in VOID:
            self._open.append((tag, foreign))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        (self.foreign if self._open and self._open[-1][1] else self.own).append(data.strip())


def chinese(session: Session) -> str:
    return export(session, "html", CATALOG, "zh").text


def english_left(document: str) -> list[str]:
    """What is left in English, but for what the author of the sample run wrote there."""
    own = "".join(
        str(node.value)
        for module in (scripted, scripted_trials)
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    )
    pieces = [p for text in Said(document).own for p in re.split(r" \N{MIDDLE DOT} |(?<=[.。]) ?", text)]
    return [p for p in pieces if TWO_WORDS.search(p) and p not in own]


@pytest.mark.parametrize("part", ["whole", "redacted", "stopped", "described"])
def test_a_report_says_nothing_in_english(part: str):
    session = made_session()
    if part == "redacted":
        session = redacted(session)
    if part == "described":
        record = replace(session.record, title="Verdict of the second week")
        at = session.record.created_at
        session = replace(
            session, record=record, comments=(Comment("Nora Export", at, "Continue, it is fine"),)
        )
    html = chinese(session)
    assert '<html lang="zh-Hans">' in html
    assert english_left(html) == []
    assert "<script" not in html


def test_what_models_and_people_wrote_stays():
    session = made_session()
    samples = tuple(replace(s, payload={**s.payload, "text": "Continue"}) for s in session.samples)
    record = replace(session.record, title="Verdict")
    session = replace(session, samples=samples, texts=dict.fromkeys(session.texts, "Export"), record=record)
    quoted = Said(chinese(session)).foreign
    assert {"Continue", "Export", "Verdict"} <= set(quoted)
    assert not [t for t in quoted if CHINESE.search(t)]


def test_questions_and_answers_are_those_of_the_english_report():
    session = made_session()
    english, other = (Said(export(session, "html", CATALOG, code).text) for code in ("en", "zh"))
    assert other.foreign == english.foreign
    assert load_json_workload().questions[3].text in other.foreign


def test_nothing_in_a_chinese_report_acts():
    session = hostile_session()
    record = replace(session.record, title=HOSTILE)
    comments = (Comment(HOSTILE, session.record.created_at, f"{HOSTILE} of 20 answers"),)
    session = replace(session, record=record, comments=comments)
    for html in (chinese(session), shared_html(session, CATALOG, "zh")):
        inert(html)
        assert "&lt;img src=x onerror=boom()&gt;" in html
        assert "default-src 'none'" in html


def test_files_name_their_language_and_other_formats_are_english():
    session = made_session()
    assert export(session, "html", CATALOG, "zh").name.endswith("-zh.html")
    assert export(redacted(session), "html", CATALOG, "zh").name.endswith("-redacted-zh.html")
    for form in FORMATS:
        assert export(session, form, CATALOG, "en") == export(session, form, CATALOG)
        with pytest.raises(InputError, match="no language 'fr'"):
            export(session, form, CATALOG, "fr")
        if form != "html":
            with pytest.raises(InputError, match="English only"):
                export(session, form, CATALOG, "zh")
