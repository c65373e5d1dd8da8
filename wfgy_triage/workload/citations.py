"""Citation tasks: a question with numbered passages, to be answered with the number of the passage that says it.

The passages of a task are excerpts of a corpus: a few sentences around the evidence, and as many from other sections.
The mark stands behind every sentence, as it should in the answer: a model that copies the sentence then has the
matching mark in view, which even very small models manage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wfgy_triage.errors import InputError
from wfgy_triage.workload.corpus import CORPUS, Corpus, Question, Section, load_corpus, sentences

RECORD = "#record"
"""Behind the id of a question that is asked as a JSON citation record."""
WITH_K = "@k"
"""Behind the id of a question that is asked with another number of passages; the number follows."""
ANSWER_INSTRUCTION = " ".join(
    (
        "Answer the question with one sentence from the passages.",
        "End it with the number of the passage in brackets.",
    )
)
RECORD_INSTRUCTION = " ".join(
    (
        "Quote the sentence that answers the question and name its passage and section.",
        "Answer with one JSON object: quote, snippet_id, section_id.",
    )
)


@dataclass(frozen=True)
class Level:
    """How hard the tasks are.

    Attributes:
        passages: how many passages a task shows.
        sentences: how many sentences of its section a passage has; 0 for the whole section.
        distractors: whether sections written to be mistaken for the right one are among them.
        swept: how many sentences a passage of the k sweep has.
    """

    passages: int
    sentences: int
    distractors: bool
    swept: int = 1


LEVELS: Mapping[str, Level] = {
    "standard": Level(passages=3, sentences=3, distractors=False),
    # Swept in whole sections, five passages would be the same prompt once more, and twenty too long for 2,048 tokens.
    "hard": Level(passages=5, sentences=0, distractors=True, swept=3),
}


@dataclass(frozen=True)
class Snippet:
    """A passage in a prompt: its mark, the section it is from, its text."""

    id: str
    section: str
    text: str


@dataclass(frozen=True)
class CitationTask:
    """A question and its passages; `gold` is the id of the one that holds the answer."""

    question: Question
    snippets: tuple[Snippet, ...]
    gold: str

    @property
    def supplied(self) -> dict[str, str]:
        """Text of every passage by id."""
        return {s.id: s.text for s in self.snippets}

    @property
    def sections(self) -> dict[str, str]:
        """Section of every passage by id."""
        return {s.id: s.section for s in self.snippets}

    def worded(self, paraphrase: int) -> CitationTask:
        """The task with another wording of its question as the one that is asked."""
        wordings = self.question.paraphrases[paraphrase:]
        return replace(self, question=replace(self.question, paraphrases=wordings))


@dataclass(frozen=True)
class CitationWorkload:
    """The tasks of a corpus at one level."""

    id: str
    sha256: str
    tasks: tuple[CitationTask, ...]

    def messages(self, task: CitationTask) -> list[dict[str, str]]:
        """Chat messages that ask for a cited answer; all but the last are the same for every task."""
        turns = [{"role": "system", "content": ANSWER_INSTRUCTION}]
        for example in EXAMPLES:
            turns.append({"role": "user", "content": _asked(example.snippets, example.question)})
            turns.append({"role": "assistant", "content": marked(example.answer, example.gold)})
        return [*turns, {"role": "user", "content": _asked(task.snippets, task.question.text)}]

    def record_messages(self, task: CitationTask) -> list[dict[str, str]]:
        """Chat messages that ask for a citation record in JSON."""
        turns = [{"role": "system", "content": RECORD_INSTRUCTION}]
        for example in EXAMPLES:
            section = next(s.section for s in example.snippets if s.id == example.gold)
            turns.append({"role": "user", "content": _asked(example.snippets, example.question, True)})
            turns.append({"role": "assistant", "content": record(example.gold, section, example.quote)})
        return [*turns, {"role": "user", "content": _asked(task.snippets, task.question.text, True)}]


@dataclass(frozen=True)
class CitedExample:
    """A solved task shown in the prompt; its facts are not in the corpus.

    `answer` names its subject, as a sentence that stands alone has to; `quote` is the passage's own sentence.
    """

    snippets: tuple[Snippet, ...]
    question: str
    gold: str
    answer: str
    quote: str


EXAMPLES = (
    CitedExample(
        (
            Snippet(
                "S1",
                "bus",
                "Bus to Elmcote. The bus to Elmcote leaves every 35 minutes. The driver sells no tickets. "
                "The last bus stops at the mill.",
            ),
            Snippet(
                "S2",
                "lamp",
                "Night lamp. The night lamp uses 5 watts. It has a grey switch. It is sold in pairs.",
            ),
            Snippet(
                "S3",
                "tent",
                "Tent Marlow. The tent Marlow sleeps 3 people. Its poles are made of ash wood. It dries in two hours.",
            ),
        ),
        "What are the poles of the tent Marlow made of?",
        "S3",
        "The poles of the tent Marlow are made of ash wood.",
        "Its poles are made of ash wood.",
    ),
    CitedExample(
        (
            Snippet(
                "S1",
                "well",
                "Old well. The old well is 29 metres deep. Its water is sold by the Fern company. "
                "It is covered at night.",
            ),
            Snippet(
                "S2",
                "bridge",
                "Rope bridge. The rope bridge holds 12 people. It was closed in May. The guard has the key.",
            ),
            Snippet(
                "S3",
                "paint",
                "Blue paint. The blue paint dries in 7 hours. Stir it well. Keep it in the cellar.",
            ),
        ),
        "How deep is the old well?",
        "S1",
        "The old well is 29 metres deep.",
        "The old well is 29 metres deep.",
    ),
    CitedExample(
        (
            Snippet(
                "S1", "choir", "Choir. The choir has 44 singers. It sings on Sundays. Guests sit on the left."
            ),
            Snippet(
                "S2",
                "clock",
                "Tower clock. The tower clock is wound every 9 days. Its bell was cast by the Arden foundry. "
                "The stairs are narrow.",
            ),
            Snippet(
                "S3",
                "soup",
                "Barley soup. The barley soup cooks for 50 minutes. It is served with dark bread. It needs no salt.",
            ),
        ),
        "Who cast the bell of the tower clock?",
        "S2",
        "The bell of the tower clock was cast by the Arden foundry.",
        "Its bell was cast by the Arden foundry.",
    ),
)


def load_citations(path: Path | None = None, level: str = "standard") -> CitationWorkload:
    """Make the tasks of a stored question set, or of the built-in corpus.

    Raises:
        InputError: unknown level.
        PrerequisiteError: the corpus file is missing or damaged.
    """
    corpus, found = load_corpus(path or CORPUS), _level(level)
    tasks = tuple(_task(corpus, q, number, found) for number, q in enumerate(corpus.questions))
    return CitationWorkload(f"{corpus.id}/citations/{level}", corpus.sha256, tasks)


def load_sweep(passages: int, path: Path | None = None, level: str = "standard") -> CitationWorkload:
    """The tasks with this many short passages, lookalikes first: what a larger k puts into a prompt.

    Raises:
        InputError: unknown level.
        PrerequisiteError: the corpus file is missing or damaged.
    """
    corpus = load_corpus(path or CORPUS)
    swept = Level(passages=passages, sentences=_level(level).swept, distractors=True)
    tasks = tuple(_task(corpus, q, number, swept) for number, q in enumerate(corpus.questions))
    return CitationWorkload(f"{corpus.id}/citations/{level}/k{passages}", corpus.sha256, tasks)


def _level(name: str) -> Level:
    if name not in LEVELS:
        raise InputError(f"There is no level {name!r}.", f"Levels: {', '.join(LEVELS)}.")
    return LEVELS[name]


def marked(text: str, mark: str) -> str:
    """The text with a citation inside the end of every sentence."""
    return " ".join(_with_mark(sentence, mark) for sentence in sentences(text))


def record(snippet: str, section: str, quote: str) -> str:
    """A citation record, written as in the prompt's examples: the quote first, so that its mark is the next to copy."""
    fields = {"quote": quote, "snippet_id": snippet, "section_id": section}
    return json.dumps(fields, ensure_ascii=False)


def _with_mark(sentence: str, mark: str) -> str:
    end = len(sentence.rstrip(".!?"))
    return f"{sentence[:end]} [{mark}]{sentence[end:]}"


def _asked(snippets: Sequence[Snippet], question: str, with_section: bool = False) -> str:
    lines = [marked(s.text, f"{s.id} {s.section}" if with_section else s.id) for s in snippets]
    return "\n".join([*lines, f"Question: {question}"])


def _task(corpus: Corpus, question: Question, number: int, level: Level) -> CitationTask:
    """The right passage at a place that rotates from question to question, among passages that rotate too."""
    gold = corpus.sections[question.section]
    family = {gold.id, gold.distractor_of, *(s.id for s in corpus.distractors(gold.id))}
    others = [s for s in corpus.sections.values() if s.id not in family]
    relatives = [s for s in corpus.sections.values() if s.id in family and s.id != gold.id]
    start = number * 5 % len(others) if others else 0
    pool = others[start:] + others[:start]
    if level.distractors:
        pool = [*relatives, *pool]
    else:
        # Passages that are lookalikes of each other come last too: they only confuse.
        firsts = {s.distractor_of or s.id: s for s in reversed(pool)}
        pool = sorted(pool, key=lambda s: firsts[s.distractor_of or s.id] is not s) + relatives
    shown = pool[: level.passages - 1]
    place = number % (len(shown) + 1)
    chosen = [*shown[:place], gold, *shown[place:]]
    snippets = tuple(
        Snippet(f"S{i + 1}", s.id, _excerpt(s, question if s is gold else None, number, level))
        for i, s in enumerate(chosen)
    )
    return CitationTask(question, snippets, f"S{place + 1}")


def _excerpt(section: Section, question: Question | None, number: int, level: Level) -> str:
    """A few neighbouring sentences, with the title in front; around the evidence in the right section."""
    parts = sentences(section.text)
    size = level.sentences or len(parts)
    first, last = _evidence_range(section.text, parts, question) if question else (number % len(parts),) * 2
    width = max(size, last - first + 1)
    begin = max(0, min(first - (width - (last - first + 1)) // 2, len(parts) - width))
    return f"{section.title}. {' '.join(parts[begin : begin + width])}"


def _evidence_range(text: str, parts: Sequence[str], question: Question) -> tuple[int, int]:
    """First and last sentence that the first evidence span touches."""
    start = text.index(question.evidence[0])
    end = start + len(question.evidence[0])
    touched, place = [], 0
    for number, part in enumerate(parts):
        place = text.index(part, place)
        if place < end and place + len(part) > start:
            touched.append(number)
        place += len(part)
    return touched[0], touched[-1]
