"""The matcher with its real model: `none` and symptoms in several languages, figures, repeatability."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench_matching import COLLECTED, HARD, judge, read_plain, read_test
from tests.commands import ROOT, Here, call
from tests.conftest import lend_reader
from wfgy_triage import matching
from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import NONE, check_complaint
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.matching import (
    BATCH,
    HELD_OUT,
    SymptomMatcher,
    load_matcher,
    phrases,
    read_restated,
    read_translated,
    read_written,
)
from wfgy_triage.settings import Settings

MATCHED = frozenset(s.id for s in load_catalog().symptoms.values() if s.examples)
"""What a complaint can be about; nobody complains of a guided flow."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, demo_settings: Settings) -> Path:
    """A home with the model that the matcher reads with."""
    home = tmp_path_factory.mktemp("home")
    lend_reader(home, demo_settings)
    return home


@pytest.fixture(scope="module")
def matcher(demo_settings: Settings) -> SymptomMatcher:
    return load_matcher(demo_settings)


def best(matcher: SymptomMatcher, *texts: str) -> list[str]:
    return [m.symptom for m in matcher.match(texts)]


def test_each_symptom_is_found_in_plain_words(matcher: SymptomMatcher):
    # None of these sentences is a phrase of the fix map.
    said = {
        "citations_missing": "the answers do not tell any more which document they are taken from",
        "wrong_snippet": "the search hands the bot a paragraph about a different product",
        "json_breaks": "half of the tool calls cannot be parsed since the switch to 4 bit",
        "long_chain": "after about two thousand tokens it repeats one sentence for ever",
        "deploy_mismatch": "import of exllamav2 dies with an undefined symbol since the torch upgrade",
        "acceptance_gate": "is the quantized version good enough to go live",
    }
    matches = list(matcher.match(list(said.values())))
    named = [{m.symptom, *list(m.scores)[:3]} for m in matches]
    assert sum(m.symptom == s for m, s in zip(matches, said, strict=True)) >= len(said) - 2
    assert all(symptom in names for symptom, names in zip(said, named, strict=True))


def test_other_languages_are_understood(matcher: SymptomMatcher):
    said = {
        "Die Werkzeugaufrufe sind kein gültiges JSON mehr": "json_breaks",
        "El modelo repite la misma frase una y otra vez": "long_chain",
        "量化以后模型输出的都是乱码": "deploy_mismatch",
        "Les citations ont disparu des réponses": "citations_missing",
    }
    assert best(matcher, *said) == list(said.values())


def test_small_talk_and_other_peoples_troubles_get_none(matcher: SymptomMatcher):
    said = ["good evening", "my printer is out of paper", "wann fährt der nächste Zug", "请帮我订一张机票"]
    assert best(matcher, *said) == [NONE] * len(said)


def test_shares_add_up_and_the_highest_decides(matcher: SymptomMatcher):
    for match in matcher.match(["JSON is broken", "hello", "?"]):
        assert sum(match.scores.values()) == pytest.approx(1)
        assert list(match.scores) == sorted(match.scores, key=match.scores.__getitem__, reverse=True)
        assert match.symptom == next(iter(match.scores))
        assert set(match.scores) == {*MATCHED, NONE}


def test_a_batch_gives_what_each_text_gives_alone(matcher: SymptomMatcher):
    texts = [f"{i} sources are missing" + " again" * (i % 9) for i in range(BATCH + 3)]
    together = list(matcher.match(texts))
    assert len(together) == len(texts)
    for i in (0, BATCH - 1, BATCH, BATCH + 2):
        alone = next(matcher.match([texts[i]]))
        assert alone.scores == pytest.approx(together[i].scores, abs=1e-3)


def test_related_wishes_and_questions_get_none(matcher: SymptomMatcher):
    said = [
        "please add an option to export the chat",
        "how much VRAM is needed for a 70B model",
        "can I use the weights commercially",
        "generation is too slow on my GPU",
        "the loss becomes NaN when I fine-tune with LoRA",
        "feature request: show citations in the chat window",
    ]
    assert best(matcher, *said) == [NONE] * len(said)


def test_the_data_are_sound_and_the_test_split_is_not_learned_from():
    learned, held = read_restated(), read_restated(HELD_OUT)
    test = read_test() + read_test(COLLECTED) + read_test(HARD)
    plain = read_plain()
    known = {*MATCHED, NONE}
    assert {e.symptom for e in learned} == {e.symptom for e in held} == {c.symptoms[0] for c in test} == known
    assert len(held) >= 1000
    assert all(len(set(c.symptoms)) == len(c.symptoms) and set(c.symptoms) <= known for c in test)
    sources = [e.source for e in learned + held] + [c.source for c in test + plain]
    assert len(set(sources)) == len(sources)
    assert all(s.startswith("https://github.com/") for s in sources)
    texts = [e.text for e in learned + held] + [c.text for c in test + plain]
    assert all(check_complaint(text) for text in texts)
    written = read_written()
    assert {e.symptom for e in written} == known
    assert len({e.text for e in written}) == len(written)
    assert all(check_complaint(e.text) for e in written)
    translated = read_translated()
    assert {e.symptom for e in translated} == known
    assert {e.source for e in translated if e.source} <= {e.source for e in learned}
    assert all(check_complaint(e.text) for e in translated)
    own = [*phrases(load_catalog()), *written, *translated]
    assert len({e.text for e in translated}) == len(translated)
    assert not {e.text for e in own} & set(texts)
    assert {c.second for c in test} <= known
    assert sum(c.agreed for c in test) / len(test) > 0.95


@pytest.mark.parametrize("read", [read_restated, read_written, read_translated])
def test_a_bad_line_of_what_is_learned_from_is_named(tmp_path: Path, read):
    file = tmp_path / "complaints.jsonl"
    file.write_text('{"text": "a", "symptom": "none", "source": "s"}\n{"words": "b"}\n', encoding="utf-8")
    with pytest.raises(PrerequisiteError, match="line 2"):
        read(file)


def test_a_second_label_counts_as_right(matcher: SymptomMatcher):
    both = next(c for c in read_test() if c.symptoms == ("long_chain", "deploy_mismatch"))
    for answer in both.symptoms:
        assert judge([both], [answer]).right == 1
    assert judge([both], [NONE]).right == 0


def test_complaints_of_other_people(matcher: SymptomMatcher):
    complaints = read_test()
    outcome = judge(complaints, best(matcher, *(c.text for c in complaints)))
    # The goals are 0.9 and 0.05; docs/matching.md reports what is reached: 220 of 241 and 10 of 137. These bounds are a
    # few complaints away from it: they show when another training does harm.
    assert (outcome.fitting, outcome.unrelated) == (241, 137)
    assert outcome.right >= 216
    assert outcome.forced <= 13
    assert outcome.fitting - outcome.right + outcome.forced <= 36


def test_complaints_of_the_second_test(matcher: SymptomMatcher):
    """Every third of them: 85 and 7, with a few complaints to spare. Of all, docs/matching.md says 266 and 23."""
    complaints = read_test(COLLECTED)[::3]
    outcome = judge(complaints, best(matcher, *(c.text for c in complaints)))
    assert (outcome.fitting, outcome.unrelated) == (95, 186)
    assert outcome.right >= 82
    assert outcome.forced <= 10


def test_complaints_about_other_software(matcher: SymptomMatcher):
    """Every third of them: 2 are forced. Of all 265, docs/matching.md says 10; the goal is one in twenty."""
    answers = best(matcher, *(c.text for c in read_plain()[::3]))
    assert len(answers) == 89
    assert sum(answer != NONE for answer in answers) <= 4


def test_neither_the_matchers_process_nor_its_start_needs_torch():
    code = "import sys, wfgy_triage.runs.match_process; print({'torch', 'transformers'} & {*sys.modules})"
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert outcome.stdout.strip() == "set()"


def test_the_command_line_answers_line_by_line(matcher: SymptomMatcher, home: Path, tmp_path: Path):
    file = tmp_path / "in.jsonl"
    lines = [
        {"id": "ü1", "text": "half of the tool calls cannot be parsed now"},
        {"id": "2", "text": "good morning"},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    outcome = call(home, "match", "--file", str(file))
    assert outcome.returncode == 0
    found = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [(f["id"], f["symptom"]) for f in found] == [("ü1", "json_breaks"), ("2", "none")]
    assert all(set(f) == {"id", "symptom", "scores"} for f in found)


def test_the_command_line_says_it_in_words(
    matcher: SymptomMatcher, home: Path, here: Here, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(matching, "load_matcher", lambda _: matcher)
    outcome = here(home, "match", "it repeats the same words until the token limit")
    assert outcome.returncode == 0
    assert outcome.stdout.startswith("long_chain Long answers fall apart")
    assert "None of the symptoms fits" in here(home, "match", "good morning").stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": "a", "text": "JSON breaks"}\n{"id": "b"}', "in.jsonl, line 2: text must be there"),
        (b"\xff", "in.jsonl, line 1: this is not UTF-8"),
        (b"", "has no complaints in it"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_written(tmp_path: Path, content: bytes, said: str):
    file = tmp_path / "in.jsonl"
    file.write_bytes(content)
    outcome = call(tmp_path, "match", "--file", str(file))
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert said in outcome.stderr


def test_a_closed_pipe_is_no_traceback(matcher: SymptomMatcher, home: Path, tmp_path: Path):
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": "a", "text": "JSON breaks"}\n', encoding="utf-8")
    command = [sys.executable, "-m", "wfgy_triage", "match", "--file", str(file)]
    env = {**os.environ, "WFGY_TRIAGE_HOME": str(home)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
