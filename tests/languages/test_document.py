"""A document in another language: its texts change, its markup does not, and what is foreign stays."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.sessions_made import HOSTILE, hostile_session, made_session, written
from wfgy_triage.languages.document import in_language, language_links
from wfgy_triage.languages.lookup import lookup

SPOKEN = {"aria-label", "title", "placeholder", "alt", "data-l"}
SAID = (
    "Continue",
    "19 questions",
    "1 warning. Continue",
    'Tom & Jerry\'s "2 < 3"',
    HOSTILE,
    "Fail: Continue",
    " \n ",
)


class Structure(HTMLParser):
    """Everything of a document but its texts, and those by themselves."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.markup: list[object] = []
        self.texts: list[str] = []
        self.attributes: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.markup.append(
            (tag, [(n, None if n in SPOKEN or (tag, n) == ("html", "lang") else v) for n, v in attrs])
        )
        self.attributes += [v or "" for n, v in attrs if n in SPOKEN]

    def handle_endtag(self, tag: str) -> None:
        self.markup.append(tag)

    def handle_comment(self, data: str) -> None:
        self.markup.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.markup.append(("declaration", decl))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def attribute(name: str) -> st.SearchStrategy[str]:
    value = st.sampled_from(SAID).map(lambda v: escape(v, quote=True))
    return value.map(lambda v: f' {name}="{v}"') | value.map(lambda v: f" {name}='{v}'")


ATTRIBUTES = st.lists(
    st.sampled_from(sorted(SPOKEN)).flatmap(attribute) | attribute("data-x") | st.just(' translate="no"'),
    max_size=2,
).map("".join)
LEAF = st.sampled_from(SAID).map(escape) | st.sampled_from(["<br>", '<path d="M0 0"/>', "<!-- Continue -->"])
PAIRED = st.sampled_from(["p", "b", "pre", "code", "text", "tspan", "title"])
TREES = st.recursive(
    LEAF,
    lambda inner: st.builds(
        lambda tag, attrs, parts: f"<{tag}{attrs}>{''.join(parts)}</{tag}>",
        PAIRED, ATTRIBUTES, st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_the_markup_of_any_document_stays(tree: str):
    before, after = Structure(tree), Structure(in_language(tree, "zh"))
    assert after.markup == before.markup
    assert len(after.attributes) == len(before.attributes)
    say = lookup("zh").translated
    for english, shown in zip(before.attributes, after.attributes, strict=True):
        assert shown in (english, say(english))


@pytest.mark.parametrize("made", [made_session, hostile_session])
def test_the_markup_of_a_report_stays(made):
    report = written(made(), "html")
    before, after = Structure(report), Structure(in_language(report, "zh"))
    assert after.markup == before.markup
    assert len(after.texts) == len(before.texts)
    assert after.texts != before.texts


def test_only_what_is_exchanged_changes_a_byte():
    document = (
        "<!DOCTYPE html>\n<HTML  lang = 'en' ><title>Continue</title>\r\n<p class=a title=Continue>Nora&#39;s &amp; "
        "<b>Continue</b >&nbsp;</p><img alt='Continue'><!-- Continue --><P>Continue\n"
    )
    assert in_language(document, "zh") == (
        "<!DOCTYPE html>\n<HTML  lang = 'zh-Hans' ><title>继续</title>\r\n<p class=a title=\"继续\">Nora&#39;s &amp; "
        "<b>继续</b >&nbsp;</p><img alt='继续'><!-- Continue --><P>继续\n"
    )
    assert in_language(document, "en") is document


@pytest.mark.parametrize(
    "foreign",
    [
        "<pre>{}</pre>", "<p><code>{}</code></p>", '<div translate="no"><p><b>{}</b></p></div>', "<style>{}</style>",
        "<script>{}</script>", "<textarea>{}</textarea>", '<p contenteditable="true"><b>{}</b></p>',
        '<p translate="no" title="{}"></p>', '<div translate="no"><img alt="{}"></div>', '<p data-title="{}"></p>',
    ],
)  # fmt: skip
def test_what_is_foreign_stays(foreign: str):
    html = foreign.format("Continue")
    assert in_language(html, "zh") == html
    assert in_language(f"{html}<p>Continue</p>", "zh") == f"{html}<p>继续</p>", "and ends where it ends"


def test_what_a_phone_writes_before_a_cell_is_exchanged():
    cell = '<td data-l="Noise floor"><span translate="no">Continue</span></td>'
    assert in_language(cell, "zh") == cell.replace("Noise floor", "本底噪声")


def test_what_a_translation_brings_is_escaped():
    html = '<p title="&quot;&gt;&lt;b&gt; of 20 answers">&lt;b&gt;3&lt;/b&gt; · Continue</p>'
    after = Structure(in_language(html, "zh"))
    assert after.markup == Structure(html).markup
    assert "".join(after.texts) == "<b>3</b> · 继续"


def test_a_label_in_lines_is_one_text_in_as_many_lines():
    lines = ("Answers that fit", "the schema")
    label = "".join(f'<tspan class="line" x="1">{line}</tspan>' for line in lines)
    html = (
        f'<svg><text>{label}<tspan class="line"><tspan font-weight="700">3 of 20</tspan></tspan></text></svg>'
    )
    after = Structure(in_language(html, "zh"))
    assert after.markup == Structure(html).markup
    *said, number = after.texts
    assert len(said) == 2
    assert all(said)
    assert "".join(said) == lookup("zh").translated("Answers that fit the schema")
    assert number == lookup("zh").translated("3 of 20")


def test_links_name_the_other_languages_and_keep_what_was_asked():
    link = language_links("en", next='/runs?by="maker"&page=2', empty="")
    assert 'href="?language=zh&amp;next=%2Fruns%3Fby%3D%22maker%22%26page%3D2"' in link
    assert ">中文</a>" in link
    assert ">English</a>" in language_links("zh")
    assert in_language(link, "zh") == link
