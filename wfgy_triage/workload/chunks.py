"""Passages to search and the queries that should find them: the built-in corpus cut up, or a user's own file."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.workload.corpus import Corpus, sentences
from wfgy_triage.workload.upload_json import half_character

MAX_BYTES = 64 * 2**20
MAX_CHUNKS = 5_000
MAX_CHARACTERS = 8_000
MAX_DIMENSIONS = 16_384
KNOWN_ITEM_WORDS = 6
"""Words of a known-item query: the rarest of its passage."""
FORMAT = (
    'Each line is an object like {"id": "a-1", "text": "...", "title": "...", "section": "a", '
    '"questions": ["..."], "embedding": [0.1, ...]}; only id and text are required.'
)
_TEXTS = ("id", "text", "title", "section", "questions")
_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Chunk:
    """One passage of an index.

    Attributes:
        id: unique in its set.
        text: the passage.
        section: id of the section it is part of; its own id where sections are not known.
        title: heading of that section; indexed in front of the text, so that "it weighs" names what weighs.
        vector: the embedding that came with a user's passage; None without one.
    """

    id: str
    text: str
    section: str
    title: str = ""
    vector: tuple[float, ...] | None = None

    @property
    def indexed(self) -> str:
        """What is embedded."""
        return f"{self.title}. {self.text}" if self.title else self.text


@dataclass(frozen=True)
class Query:
    """A question and the passages that answer it (places in `ChunkSet.chunks`, at least one)."""

    id: str
    text: str
    section: str
    gold: frozenset[int]


@dataclass(frozen=True)
class ChunkSet:
    """Passages and queries. `known_item`: the queries are words of the passages, since the file had no questions."""

    id: str
    sha256: str
    chunks: tuple[Chunk, ...]
    queries: tuple[Query, ...]
    known_item: bool = False

    @property
    def texts(self) -> list[str]:
        """What is embedded of each passage."""
        return [chunk.indexed for chunk in self.chunks]

    @property
    def sections(self) -> dict[str, list[int]]:
        """Places of the passages of each section."""
        found: dict[str, list[int]] = {}
        for place, chunk in enumerate(self.chunks):
            found.setdefault(chunk.section, []).append(place)
        return found


def chunk_corpus(corpus: Corpus) -> ChunkSet:
    """Cut every section into sentences; gold are those that a question's evidence touches (built-in: always one).

    Whole sections would be too easy (29 of them: almost anything finds the right one among five), so the passage is
    the sentence with its section's title. A question without evidence is answered by its whole section.
    """
    chunks: list[Chunk] = []
    places: dict[str, list[int]] = {}
    for section in corpus.sections.values():
        cut = sentences(section.text)
        places[section.id] = list(range(len(chunks), len(chunks) + len(cut)))
        chunks += [Chunk(f"{section.id}/{n}", s, section.id, section.title) for n, s in enumerate(cut, 1)]
    queries = []
    for question in corpus.questions:
        inside = places[question.section]
        parts = [chunks[i].text for i in inside]
        touched = _touched(corpus.sections[question.section].text, parts, question.evidence)
        gold = frozenset(inside[i] for i in touched) or frozenset(inside)
        queries.append(Query(question.id, question.text, question.section, gold))
    return ChunkSet(f"{corpus.id}-sentences", corpus.sha256, tuple(chunks), tuple(queries))


def _touched(text: str, parts: Sequence[str], spans: Sequence[str]) -> set[int]:
    """Which of the parts, which follow each other in the text, share characters with one of the spans."""
    bounds, at = [], 0
    for part in parts:
        begin = text.index(part, at)
        at = begin + len(part)
        bounds.append((begin, at))
    found = [(text.find(span), len(span)) for span in spans if span and span in text]
    return {
        number
        for number, (begin, end) in enumerate(bounds)
        for start, length in found
        if start < end and start + length > begin
    }


def load_chunks(path: Path) -> ChunkSet:
    """Read a user's passages: one JSON object a line (see `FORMAT`).

    Without any `questions`, each passage gets a known-item query: its rarest words in alphabetical order.

    Raises:
        InputError: names the line and what is wrong with it.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path.name} has {size:,} bytes.", f"Up to {MAX_BYTES:,} are read.")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", FORMAT) from error
    return parse_chunks(raw, path.name)


def parse_chunks(raw: bytes, name: str) -> ChunkSet:
    """As `load_chunks`, for a file that is in memory already."""
    chunks: list[Chunk] = []
    asked: list[tuple[int, str]] = []
    # Not splitlines: U+2028 and others that it divides at may stand in a JSON text as they are.
    for number, line in enumerate(_decoded(raw, name).split("\n"), 1):
        if not line.strip():
            continue
        if len(chunks) == MAX_CHUNKS:
            raise InputError(f"{name} has more than {MAX_CHUNKS} passages.", "Give a part of it.")
        record = _record(line, number)
        asked += [(len(chunks), q) for q in _strings(record, "questions", number)]
        chunks.append(_chunk(record, number))
        _check_characters(record, number)
    _check_set(chunks, name)
    digest = hashlib.sha256(raw).hexdigest()
    known_item = not asked
    queries = _known_items(chunks) if known_item else _asked(chunks, asked)
    if not queries:
        raise InputError(
            f"{name} gives nothing to ask: no questions, and no words to make some of.",
            'Add "questions" to the passages that answer them.',
        )
    return ChunkSet(name, digest, tuple(chunks), queries, known_item)


def _decoded(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}, line {line}: this is not UTF-8.", "Save it as UTF-8.") from error


def _record(line: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Line {number} is not a JSON object: {error}.", FORMAT) from error
    if not isinstance(record, dict):
        raise InputError(f"Line {number} is not a JSON object.", FORMAT)
    return record


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _chunk(record: dict[str, Any], number: int) -> Chunk:
    for name in ("id", "text"):
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise InputError(f"Line {number}: {name} has to be a text that is not empty.", FORMAT)
    for name in ("title", "section"):
        if not isinstance(record.get(name, ""), str):
            raise InputError(f"Line {number}: {name} has to be a text.", FORMAT)
    if len(record["text"]) > MAX_CHARACTERS:
        raise InputError(
            f"Line {number}: the passage has {len(record['text']):,} characters.",
            f"Cut passages to at most {MAX_CHARACTERS:,}.",
        )
    section = record.get("section") or record["id"]
    return Chunk(record["id"], record["text"], section, record.get("title", ""), _vector(record, number))


def _vector(record: dict[str, Any], number: int) -> tuple[float, ...] | None:
    values = record.get("embedding")
    if values is None:
        return None
    numeric = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    if not numeric or not 0 < len(values) <= MAX_DIMENSIONS or not all(map(_finite, values)):
        raise InputError(
            f"Line {number}: embedding has to be a list of 1 to {MAX_DIMENSIONS:,} finite numbers.", FORMAT
        )
    return tuple(float(v) for v in values)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer of hundreds of digits
        return False


def _strings(record: dict[str, Any], name: str, number: int) -> list[str]:
    values = record.get(name, [])
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise InputError(f"Line {number}: {name} has to be a list of texts.", FORMAT)
    if any(len(v) > MAX_CHARACTERS for v in values):
        raise InputError(f"Line {number}: a question has more than {MAX_CHARACTERS:,} characters.", FORMAT)
    return values


def _check_characters(record: dict[str, Any], number: int) -> None:
    """Refuse half of a character in a text that is read: no tokenizer takes it."""
    for name in _TEXTS:
        if half := half_character(record.get(name)):
            raise InputError(
                f"Line {number}: {name} has half of a character in it ({half}).",
                "Write the whole character, or leave it out.",
            )


def _check_set(chunks: Sequence[Chunk], name: str) -> None:
    if len(chunks) < 2:
        raise InputError(f"{name} has {len(chunks)} passages; searching needs at least two.", FORMAT)
    twice = [key for key, count in Counter(chunk.id for chunk in chunks).items() if count > 1]
    if twice:
        raise InputError(f"{name}: the id {twice[0]!r} is given twice.", "Ids have to differ.")
    sizes = {len(c.vector) if c.vector is not None else None for c in chunks}
    if len(sizes) > 1:
        raise InputError(
            f"{name}: the embeddings differ in length, or some passages have none.",
            "Give every passage an embedding of the same length, or none of them.",
        )


def _asked(chunks: Sequence[Chunk], asked: Iterable[tuple[int, str]]) -> tuple[Query, ...]:
    """One query for each distinct question; passages with the same question are all gold."""
    gold: dict[str, list[int]] = {}
    for place, text in asked:
        gold.setdefault(text.strip(), []).append(place)
    return tuple(
        Query(f"{chunks[places[0]].id}?{number}", text, chunks[places[0]].section, frozenset(places))
        for number, (text, places) in enumerate(gold.items(), 1)
    )


def _known_items(chunks: Sequence[Chunk]) -> tuple[Query, ...]:
    words = [sorted({w.casefold() for w in _WORD.findall(chunk.text)}) for chunk in chunks]
    spread = Counter(word for one in words for word in one)
    rarest = [sorted(sorted(one, key=lambda w: (spread[w], w))[:KNOWN_ITEM_WORDS]) for one in words]
    return tuple(
        Query(f"{chunk.id}?", " ".join(picked), chunk.section, frozenset([place]))
        for place, (chunk, picked) in enumerate(zip(chunks, rarest, strict=True))
        if len(picked) >= KNOWN_ITEM_WORDS // 2
    )
