"""An HTML document of this program in another language: its texts are exchanged, and not a byte of its markup.

What the script does on the page (`assets/texts/translate.js`), for documents that run none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape, unescape
from html.parser import HTMLParser
from itertools import accumulate
from urllib.parse import urlencode

from wfgy_triage.languages.known import ENGLISH, LANGUAGES, NAMES
from wfgy_triage.languages.lookup import lookup

MOST_LOOKUPS = 30_000
"""For one document; ten times what the longest reports take. The rest of a document that wants more stays English."""
_ATTRIBUTES = frozenset({"aria-label", "title", "placeholder", "alt", "data-l"})
_FOREIGN = frozenset({"pre", "code", "script", "style", "textarea"})
"""Elements whose texts are a model's, a person's or nobody's."""
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_VALUE = re.compile(r"([^\s\"'<>/=]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'=<>`]+))")
_BARE = 4
"""The group of a value without quotes."""
_UNITS = re.compile(r"[\x21-\x7e]+|\s+|.")


def in_language(document: str, language: str) -> str:
    """Return an English document in another language.

    Texts and the attributes that are read out are looked up and escaped again; everything else stays as it is, byte
    for byte, and so does what a model or a person wrote: whatever stands in `pre`, `code`, `script`, `style`,
    `textarea`, in what is edited, or is marked `translate="no"`.

    Args:
        document: HTML.
        language: one of `NAMES`; in English it stays as it is.
    """
    if language == ENGLISH:
        return document
    return _Reader(document, language).exchanged()


def language_links(language: str, **query: str) -> str:
    """Return links from a page to itself in the other languages, relative, for pages that run no script.

    Args:
        language: that of the page.
        query: what else has to stay in the address; left out where empty.
    """
    kept = {name: value for name, value in query.items() if value}
    return "".join(
        f'<a class="language" translate="no" lang="{code}" hreflang="{code}" '
        f'href="?{escape(urlencode({"language": code, **kept}))}">{escape(name)}</a>'
        for code, name in NAMES.items()
        if code != language
    )


@dataclass(frozen=True)
class _Piece:
    """A text of the document, and where its source is."""

    start: int
    end: int
    text: str


@dataclass
class _Element:
    """An open element.

    Attributes:
        tag: its name.
        kept: whether nothing of it is exchanged.
        foreign: whether its texts are not.
        line: whether it is a line of a label.
        begun: whether it has children already.
        lines: of a label, its lines so far.
    """

    tag: str
    kept: bool = False
    foreign: bool = False
    line: bool = False
    begun: bool = False
    lines: list[_Piece] = field(default_factory=list)


class _Reader(HTMLParser):
    """Reads a document once and notes what is put where."""

    def __init__(self, document: str, language: str) -> None:
        super().__init__(convert_charrefs=True)
        self._document = document
        self._html = LANGUAGES[language].html
        self._lookup = lookup(language)
        self._left = MOST_LOOKUPS
        self._known: dict[str, str] = {}
        self._rows = [0, *accumulate(len(row) + 1 for row in document.split("\n"))]
        self._open = [_Element("")]
        self._data: list[str] = []
        self._data_start = 0
        self._new: list[_Piece] = []
        self.feed(document)
        self.close()
        self._end_text(len(document))
        while len(self._open) > 1:
            self._close_last()

    def exchanged(self) -> str:
        """Return the document with everything exchanged."""
        parts, at = [], 0
        for new in sorted(self._new, key=lambda n: n.start):
            parts += [self._document[at : new.start], new.text]
            at = new.end
        return "".join([*parts, self._document[at:]])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Exchange the attributes of an element, and open it."""
        element = self._begin(tag, attrs)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Exchange the attributes of an element that holds nothing."""
        self._begin(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Close the element, and those in it that were left open."""
        self._end_text(self._here())
        if any(e.tag == tag for e in self._open):
            while self._open[-1].tag != tag:
                self._close_last()
            self._close_last()

    def handle_data(self, data: str) -> None:
        """Take a piece of a text."""
        if not self._data:
            self._data_start = self._here()
        self._data.append(data)

    def handle_comment(self, data: str) -> None:
        """End the text before it."""
        self._end_text(self._here())
        self._open[-1].begun = True

    def handle_decl(self, decl: str) -> None:
        """As with a comment."""
        self.handle_comment(decl)

    def handle_pi(self, data: str) -> None:
        """As with a comment."""
        self.handle_comment(data)

    def unknown_decl(self, data: str) -> None:
        """As with a comment."""
        self.handle_comment(data)

    def _here(self) -> int:
        row, column = self.getpos()
        return self._rows[row - 1] + column

    def _begin(self, tag: str, attrs: list[tuple[str, str | None]]) -> _Element:
        here = self._here()
        self._end_text(here)
        around = self._open[-1]
        around.begun = True
        values = dict(reversed(attrs))
        kept = around.kept or values.get("translate") == "no"
        foreign = around.foreign or kept or tag in _FOREIGN or values.get("contenteditable") == "true"
        self._attributes(tag, here, kept)
        return _Element(tag, kept, foreign, tag == "tspan" and "line" in (values.get("class") or "").split())

    def _attributes(self, tag: str, here: int, kept: bool) -> None:
        for found in _VALUE.finditer(self.get_starttag_text() or "", len(tag) + 1):
            name, group = found[1].lower(), found.lastindex or 0
            start, end = here + found.start(group), here + found.end(group)
            if name == "lang" and tag == "html":
                self._new.append(_Piece(start, end, self._html))
            elif name in _ATTRIBUTES and not kept:
                self._put(_Piece(start, end, unescape(found[group])), '"' if group == _BARE else "")

    def _end_text(self, end: int) -> None:
        if not self._data:
            return
        piece = _Piece(self._data_start, end, "".join(self._data))
        self._data = []
        element = self._open[-1]
        if element.line and not element.begun and not element.foreign:
            self._open[-2].lines.append(piece)
        elif not element.line and not element.foreign:
            self._put(piece)
        element.begun = True

    def _close_last(self) -> None:
        lines = self._open.pop().lines
        if not lines:
            return
        # A label that was broken into lines is one text; what it is exchanged for is broken into as many.
        said = " ".join(line.text for line in lines)
        shown = self._say(said)
        if shown != said:
            units, count = _UNITS.findall(shown), len(lines)
            ends = [(2 * i * len(units) + count) // (2 * count) for i in range(count + 1)]
            for i, line in enumerate(lines):
                part = "".join(units[ends[i] : ends[i + 1]])
                self._new.append(_Piece(line.start, line.end, escape(part)))

    def _put(self, piece: _Piece, quote: str = "") -> None:
        shown = self._say(piece.text)
        if shown != piece.text:
            self._new.append(_Piece(piece.start, piece.end, quote + escape(shown) + quote))

    def _say(self, text: str) -> str:
        if text in self._known:
            return self._known[text]
        if self._left > 0:
            self._known[text], spent = self._lookup.counted(text)
            self._left -= spent
        return self._known.get(text, text)
