"""Reads JSON lines, CSV and Markdown into rows: a mapping of fields with the line it stands on.

What the fields mean is not decided here (`upload.py` does that); here a file becomes rows or a problem that names its
line. Every reader goes on after a problem, so that all of them are found at once.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.measure.strict_json import JsonRefused, parse_json
from wfgy_triage.workload.upload_json import MAX_LINE, half_character

SHOWN_PROBLEMS = 20
MAX_ROWS = 1000
CSV_REQUIRED = ("question", "answer", "context")
CSV_COLUMNS = (*CSV_REQUIRED, "id", "title", "aliases", "paraphrases", "evidence")
LISTS = ("aliases", "paraphrases", "evidence")
"""Fields that hold several texts; in CSV and Markdown they are divided by `|`."""

_MARKED = re.compile(r"^\s*(?:[-*]\s+)?(Q|A|E)\s*:\s*(.*)$")


@dataclass(frozen=True)
class UploadedFile:
    """A file as it came: its name without folders, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Row:
    """One thing that was read. `line` counts from 1, as editors and spreadsheets do."""

    file: str
    line: int
    fields: Mapping[str, Any]


class UploadError(InputError):
    """A question set that cannot be used, with everything that is wrong with it.

    Args:
        problems: one sentence each, with file and line; shown up to `SHOWN_PROBLEMS`.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems[:SHOWN_PROBLEMS])
        more = len(problems) - len(self.problems)
        if more > 0:
            self.problems += (f"… and {more} more.",)
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"The question set cannot be used, {count}:\n" + "\n".join(self.problems),
            "Correct the file and give it again; docs/workloads.md describes the format.",
        )


@dataclass
class Problems:
    """Collects what is wrong, so that everything can be said at once."""

    found: list[str] = field(default_factory=list)

    def add(self, file: str, line: int, text: str) -> None:
        """Note a problem of one line."""
        self.found.append(f"{file}, line {line}: {text}")

    def raise_if_any(self) -> None:
        """End here when anything was found.

        Raises:
            UploadError: with all of it.
        """
        if self.found:
            raise UploadError(self.found)


def read_rows(file: UploadedFile, problems: Problems) -> list[Row]:
    """Rows of one file; what cannot be read goes to `problems`."""
    kind = file.name.rpartition(".")[2].lower()
    reader = {"jsonl": _jsonl, "ndjson": _jsonl, "csv": _csv, "md": _markdown, "markdown": _markdown}.get(
        kind
    )
    if reader is None:
        problems.found.append(f"{file.name}: files of this kind are not read; use .jsonl, .csv or .md.")
        return []
    text = _text(file, problems)
    rows = [] if text is None else list(reader(file.name, text, problems))
    if len(rows) > MAX_ROWS:
        problems.found.append(f"{file.name}: {len(rows):,} rows; at most {MAX_ROWS:,} are read.")
    return rows


def _text(file: UploadedFile, problems: Problems) -> str | None:
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.data.count(b"\n", 0, error.start) + 1
        byte = file.data[error.start]
        problems.add(file.name, line, f"not UTF-8 (byte 0x{byte:02X}). Save the file with UTF-8 encoding.")
        return None
    if "\0" in text:
        problems.add(file.name, text.count("\n", 0, text.index("\0")) + 1, "holds binary data, not text.")
        return None
    if not text.strip():
        problems.found.append(f"{file.name}: the file is empty.")
        return None
    return text


def _jsonl(name: str, text: str, problems: Problems) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            problems.add(
                name,
                number,
                f"the line has {len(line):,} characters; at most {MAX_LINE:,} are read. Shorten its texts, or "
                "write their characters as they are instead of as \\u escapes.",
            )
            continue
        try:
            value = parse_json(line, MAX_LINE)
        except JsonRefused as refused:
            problems.add(name, number, f"not a JSON object: {refused}.")
            continue
        if not isinstance(value, dict):
            problems.add(name, number, "not a JSON object; each line is one object in braces.")
        elif _whole_characters(name, number, value, problems):
            yield Row(name, number, value)


def _whole_characters(name: str, number: int, fields: Mapping[str, Any], problems: Problems) -> bool:
    """Refuse a row with half of a character anywhere in it: the set could not be written as UTF-8."""
    halves = [(key, half) for key, value in fields.items() if (half := half_character({key: value}))]
    for key, half in halves:
        problems.add(
            name,
            number,
            f"{key[:40]!r} has half of a character in it ({half}); write the whole character, or leave it out.",
        )
    return not halves


def _csv(name: str, text: str, problems: Problems) -> Iterator[Row]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [c.strip().lower() for c in next(reader)]
        if not _columns_fit(name, columns, problems):
            return
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if len(cells) != len(columns):
                problems.add(
                    name, reader.line_num, f"{len(cells)} cells where the first line has {len(columns)}."
                )
                continue
            given = {c: v.strip() for c, v in zip(columns, cells, strict=True) if v.strip()}
            yield Row(name, reader.line_num, {c: _split(v) if c in LISTS else v for c, v in given.items()})
    except csv.Error as error:
        problems.add(name, reader.line_num, f"the CSV cannot be read on from here: {error}.")


def _columns_fit(name: str, columns: list[str], problems: Problems) -> bool:
    missing = [c for c in CSV_REQUIRED if c not in columns]
    unknown = [c for c in columns if c not in CSV_COLUMNS]
    doubled = sorted(c for c, count in Counter(columns).items() if count > 1)
    for text, which in (("missing", missing), ("unknown", unknown), ("more than once", doubled)):
        if which:
            listed = ", ".join(repr(c[:40]) for c in which[:10])
            problems.add(name, 1, f"columns {text}: {listed}. Known columns: {', '.join(CSV_COLUMNS)}.")
    return not (missing or unknown or doubled)


def _markdown(name: str, text: str, problems: Problems) -> Iterator[Row]:
    """Sections are headings of the second level; `Q:`, `A:` and `E:` lines under them are questions."""
    title, section, start, body = "", "", 0, list[str]()
    questions: list[Row] = []
    for number, line in enumerate([*text.split("\n"), "## "], 1):
        level, heading = _heading(line)
        if 1 <= level <= 2:
            if title:
                yield Row(name, start, {"section": section, "title": title, "text": "\n".join(body).strip()})
                yield from questions
            elif questions:
                problems.add(name, questions[0].line, "a question before the first '## ' heading.")
            title = heading if level == 2 else ""
            section, start, body, questions = _slug(title) or f"section-{number}", number, [], []
        elif marked := _MARKED.match(line):
            _add_marked(marked[1], marked[2].strip(), Row(name, number, {}), questions, section, problems)
        else:
            body.append(line)


def _heading(line: str) -> tuple[int, str]:
    """Level and text of a heading (`## Text`, `## Text ##`); level 0 for any other line.

    By hand: a pattern for a text between optional spaces and marks tries every way to share out a long run of spaces.
    """
    text = line.lstrip("#")
    level = len(line) - len(text)
    if not 1 <= level <= 6 or (text and not text[0].isspace()):
        return 0, ""
    return level, text.strip().rstrip("#").rstrip()


def _add_marked(
    mark: str, value: str, place: Row, questions: list[Row], section: str, problems: Problems
) -> None:
    """Add a `Q:`, `A:` or `E:` line; a second `Q:` before the `A:` is another wording."""
    last = dict(questions[-1].fields) if questions else {}
    if mark == "Q" and (not last or "answer" in last):
        questions.append(Row(place.file, place.line, {"section": section, "question": value}))
        return
    if not last:
        problems.add(place.file, place.line, f"'{mark}:' without a 'Q:' line before it.")
        return
    if mark == "Q":
        last.setdefault("paraphrases", []).append(value)
    elif mark == "A":
        last["answer"], *aliases = _split(value) or [""]
        last["aliases"] = aliases
    else:
        last.setdefault("evidence", []).append(value)
    questions[-1] = Row(place.file, questions[-1].line, last)


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split("|") if part.strip()]


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:64]
