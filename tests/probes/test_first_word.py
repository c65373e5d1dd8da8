"""The time to the first word: medians worked out by hand, and only where an answer came from a server."""

from __future__ import annotations

from typing import Any

import pytest

from wfgy_triage.engines.base import Completion, Timing
from wfgy_triage.probes.first_word import first_word_metric
from wfgy_triage.probes.payloads import answer_payload
from wfgy_triage.probes.served import AGAIN, with_server_facts
from wfgy_triage.store.records import Sample, SampleKey

FP16 = {"a": 0.5, "b": 0.1, "c": 0.9, "d": 0.3}
EXL2 = {"a": 0.2, "b": 0.8, "c": 0.4, "e": 7.0}
REPEATED = {"a": 0.3, "b": 0.6, "c": 0.7, "e": 7.5}


def stored(times: dict[str, float]) -> dict[str, dict[str, Any]]:
    """As a run stores answers of a server."""
    return {q: answer_payload(answer(q, Timing(t, None)), served=True) for q, t in times.items()}


def answer(question: str, timing: Timing | None) -> Completion:
    return Completion(question, "x", (), (), "stop", None, timing)


def test_two_servers_have_the_median_of_the_questions_that_both_have_a_time_for():
    (found,) = first_word_metric(stored(FP16), stored(EXL2), stored(REPEATED), 0.95)
    # a, b, c: FP16 0.5, 0.1, 0.9 and EXL2 0.2, 0.8, 0.4; asked again 0.3, 0.6, 0.7.
    assert (found.fp16, found.exl2, found.n) == (0.5, 0.4, 3)
    assert found.floor == pytest.approx(0.2)
    assert (found.unit, found.gate, found.state, found.difference) == ("seconds", None, None, None)


def test_a_side_that_is_loaded_here_has_no_time_and_an_even_number_of_questions_is_halved():
    loaded = {q: answer_payload(answer(q, None)) for q in FP16}
    (found,) = first_word_metric(loaded, stored(EXL2), {}, 0.95)
    # 0.2, 0.4, 0.8, 7.0: the mean of the middle two.
    assert (found.fp16, found.exl2, found.n, found.floor) == (None, pytest.approx(0.6), 4, None)
    (found,) = first_word_metric(stored(FP16), loaded, {}, 0.95)
    assert (found.fp16, found.exl2, found.n) == (pytest.approx(0.4), None, 4)


def test_answers_without_a_word_have_no_time_and_without_any_there_is_no_metric():
    silent = {"a": answer_payload(answer("a", None), served=True)}
    assert first_word_metric({}, silent, {}, 0.95) == ()
    (found,) = first_word_metric({}, {**stored({"b": 0.0, "c": 2.0}), **silent}, {}, 0.95)
    assert (found.exl2, found.n) == (1.0, 2)


def test_it_stands_among_the_facts_of_a_server_in_every_run():
    sides = {"fp16": FP16, "exl2": EXL2, AGAIN: REPEATED}
    samples = [
        Sample(SampleKey("json_breaks", q, 0, 0, side), payload)
        for side, times in sides.items()
        for q, payload in stored(times).items()
    ]
    shown = {m.id: m for m in with_server_facts((), samples, 0.95)}
    assert list(shown) == ["server_first_word", "server_repeat_rate"]
    assert (shown["server_first_word"].fp16, shown["server_first_word"].exl2) == (0.5, 0.4)
    loaded = [Sample(s.key, {**s.payload, "served": False}) for s in samples]
    assert [m.id for m in with_server_facts((), loaded, 0.95)] == ["server_repeat_rate"]
    once = [s for s in loaded if s.key.side != AGAIN]
    assert with_server_facts((), once, 0.95) == ()
