from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.answers import answer_matches, content_words, coverage, normalise
from wfgy_triage.measure.fluency import distinct_2, mean_logprob, repetition

MATCHES = [
    ("45 litres", "45 litres", (), True),
    ("It moves 45 litres of water [S1].", "45 litres", (), True),
    ("45 Litres!", "45 litres", (), True),
    ("45 liters", "45 litres", ("45 liters",), True),
    ("145 litres", "45 litres", (), False),
    ("45.5 litres", "45 litres", (), False),
    ("4 5 litres", "45 litres", (), False),
    ("litres 45", "45 litres", (), False),
    ("The contract went to the firm Pallister.", "Pallister", (), True),
    ("The contract went to Palliser.", "Pallister", (), False),
    ("It hangs at the Tilden desk", "a Tilden desk", (), True),
    ("1,240 degrees", "1240 degrees", (), True),
    ("minus 18 degrees", "-18 degrees", (), False),
    ("−18 degrees", "-18 degrees", (), True),
    ("18 degrees", "-18 degrees", (), False),
    ("3.5 m", "3.5 m", (), True),
    # A bare number has to be the only one said, and one inside a citation is not said.
    ("program 7", "7", (), True),
    ("program 7 of 9", "7", (), False),
    ("program 3 [7]", "7", (), False),
    ("", "45 litres", (), False),
    ("anything", "", (), False),
    ("the", "the", (), True),
    ("größe 5 Äpfel", "5 äpfel", (), True),
]


@pytest.mark.parametrize(("answer", "gold", "aliases", "right"), MATCHES)
def test_matches(answer, gold, aliases, right):
    assert answer_matches(answer, gold, aliases) is right


def test_normalise():
    assert normalise("The Mast: 1,240.50 m, [S2] a -3 °C x-ray 2-3") == [
        *["mast", "1240.50", "m", "-3", "c", "x", "ray", "2", "3"]
    ]


words = st.lists(st.sampled_from(["mast", "96", "metres", "tall", "red"]), min_size=1, max_size=6)


@given(words, words, words)
def test_a_gold_answer_inside_a_longer_answer_is_found(before, gold, after):
    texts = [" ".join(w) for w in (before, gold, after)]
    bare_number = gold == ["96"]
    if not bare_number:
        assert answer_matches(" ".join(texts), texts[1])


# answer, evidence, cited, share; content words counted by hand
COVERAGE = [
    ("96 metres", ["The mast is 96 metres tall."], [], 2 / 4),
    ("96 metres", ["The mast is 96 metres tall."], ["The mast is 96 metres tall and red."], 1.0),
    ("no idea", ["The mast is 96 metres tall."], [], 0.0),
    ("", ["The mast is 96 metres tall."], ["tall mast"], 2 / 4),
    ("anything", ["It is the"], [], None),
]


@pytest.mark.parametrize(("answer", "evidence", "cited", "share"), COVERAGE)
def test_coverage(answer, evidence, cited, share):
    assert coverage(answer, evidence, cited) == (None if share is None else pytest.approx(share))


@given(words, words, st.lists(words, max_size=3))
def test_citing_more_never_covers_less(answer, evidence, cited):
    texts = [" ".join(c) for c in cited]
    all_of_it = coverage(" ".join(answer), [" ".join(evidence)], texts)
    assert all_of_it is not None
    assert all_of_it >= coverage(" ".join(answer), [" ".join(evidence)], texts[:-1])
    assert 0 <= all_of_it <= 1


def test_content_words():
    assert content_words(["The pump and its 45 litres"]) == {"pump", "45", "litres"}


def test_fluency_by_hand():
    assert mean_logprob([math.log(0.5), math.log(0.125)]) == pytest.approx(math.log(0.25))
    assert mean_logprob([]) is None
    assert distinct_2("a b a b") == pytest.approx(2 / 3)
    assert distinct_2("a") is None
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition("a b c") == 0.0
    assert repetition("x " * 10) == pytest.approx(6 / 7)


@given(st.lists(st.sampled_from("abcdef"), min_size=4, max_size=20))
def test_saying_it_twice_repeats_it(letters):
    once, twice = " ".join(letters), " ".join(letters * 2)
    assert repetition(twice) > 0
    assert repetition(twice) >= repetition(once) / 2
