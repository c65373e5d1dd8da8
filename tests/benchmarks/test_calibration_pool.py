"""Passes of a pool: what is asked, with which seeds, and that nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_calibration import FAST, Models, Size, _check, _print, _rows, _search_rows
from benchmarks.calibration_pool import Engines, Pool, SampleFile, pool_key
from benchmarks.calibration_runs import QUANTIZED, SAME
from benchmarks.calibration_search import Search
from benchmarks.drawn import TEMPERATURE, Drawn, Replayed, Vectors, seed_of
from tests.benchmarks.drawing_fakes import BagEncoder, DrawingEngine
from tests.benchmarks.test_calibration_runs import BROKEN, GOLD
from tests.probes.retrieval_fakes import WordEncoder, WordEngine
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.errors import InputError
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.json_breaks import PROBE

FACTS = {"fp16": {"model": "a"}, "exl2": {"model": "b"}}


def engines() -> Engines:
    return Engines(*(DrawingEngine(GOLD, BROKEN, 0.9, bias) for bias in (0.0, 0.01, 1.0)))


def requests(count: int = 5) -> list[GenerationRequest]:
    return [GenerationRequest(f"{q}/0/0", (1, 2), 4000) for q in list(GOLD)[:count]]


def test_every_question_of_every_draw_has_its_own_seed():
    inner = DrawingEngine(GOLD, BROKEN, 0.5)
    for draw in ("one", "two"):
        list(Drawn(inner, draw).generate(requests()))
    assert len({r.seed for r in inner.requests}) == 10
    assert {r.temperature for r in inner.requests} == {TEMPERATURE}
    warm = GenerationRequest("q/0/0", (1,), 4, temperature=0.9)
    list(
        Drawn(inner, "three").generate(
            [GenerationRequest(f"{next(iter(GOLD))}/0/1", (1,), 4, temperature=0.9)]
        )
    )
    assert inner.requests[-1].temperature == 0.9
    assert seed_of("one", warm) != seed_of("one", GenerationRequest("q/0/0", (1,), 4))


def test_a_draw_answers_once_and_is_replayed():
    inner, twin = DrawingEngine(GOLD, BROKEN, 0.5), DrawingEngine(GOLD, BROKEN, 0.5)
    drawn = Drawn(inner, "one")
    first = {c.id: c for c in drawn.generate(requests())}
    again = {c.id: c for c in Replayed(twin, drawn).generate(requests())}
    assert first == again
    assert (len(inner.requests), twin.requests) == (5, [])


def test_a_killed_pass_goes_on_where_it_was(tmp_path: Path):
    settings = ProbeSettings(6)
    whole = Pool(tmp_path / "a", PROBE, settings, engines).passes(1)
    lines = (tmp_path / "a" / "pass-0.jsonl").read_text(encoding="utf-8").splitlines()
    # FP16 draws here and misses the gate, so it is asked some of its questions again (rung 11).
    assert len([line for line in lines if '"side": "held:' not in line]) == 6 * 5 + 1

    class Killed(DrawingEngine):
        def generate(self, requests, should_stop=None):
            for number, answer in enumerate(super().generate(requests, should_stop)):
                if number == 3:
                    raise KeyboardInterrupt
                yield answer

    fp16, twin, exl2 = engines().fp16, engines().twin, Killed(GOLD, BROKEN, 0.9, 1.0)
    with pytest.raises(KeyboardInterrupt):
        Pool(tmp_path / "b", PROBE, settings, lambda: Engines(fp16, twin, exl2)).passes(1)
    file = tmp_path / "b" / "pass-0.jsonl"
    assert file.read_bytes().count(b"\n") == 9
    file.write_bytes(file.read_bytes()[:-20])  # the last line was being written
    later = engines()
    assert Pool(tmp_path / "b", PROBE, settings, lambda: later).passes(1) == whole
    assert len(later.exl2.requests) == 4


def test_a_whole_pool_loads_no_model(tmp_path: Path):
    first = Pool(tmp_path, PROBE, ProbeSettings(4), engines).passes(2)

    def refuse() -> Engines:
        raise AssertionError("opened")

    assert Pool(tmp_path, PROBE, ProbeSettings(4), refuse).passes(2) == first
    with pytest.raises(AssertionError, match="opened"):
        Pool(tmp_path, PROBE, ProbeSettings(4), refuse).passes(3)


def test_what_stands_behind_a_damaged_line_is_measured_anew(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    Pool(tmp_path, PROBE, ProbeSettings(4), engines).passes(1)
    lines = (tmp_path / "pass-0.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:7], b"{not json}\n", *lines[8:]]))
    file = SampleFile(path)
    assert (len(file.samples), file.whole) == (7, False)


def test_the_key_names_models_questions_and_temperature():
    base = pool_key(PROBE, ProbeSettings(20), FACTS)
    assert base == pool_key(PROBE, ProbeSettings(20), dict(FACTS))
    others = [
        pool_key(PROBE, ProbeSettings(21), FACTS),
        pool_key(PROBE, ProbeSettings(20), {**FACTS, "exl2": {"model": "c"}}),
        pool_key(PROBE, ProbeSettings(20), FACTS, 0.5),
    ]
    assert len({base, *others}) == 4


def test_the_rows_of_a_probe_and_their_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    size = Size(runs=4, questions=6, passes=3, of=8)
    rows = _rows("json_breaks", size, FACTS, tmp_path, engines)
    assert [(r["exl2"], r["runs"]) for r in rows] == [(SAME, 4), (QUANTIZED, 4)]
    assert rows == _rows("json_breaks", size, FACTS, tmp_path, engines)
    _print(rows, size, {"fp16": {"folder": "f"}, "exl2": {"folder": "e"}})
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert "2.5 %" in table[2]


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(InputError, match="deploy_mismatch"):
        _check(["deploy_mismatch"], FAST)
    with pytest.raises(InputError, match="too few"):
        _check([], Size(passes=2))
    with pytest.raises(InputError, match="same answers"):
        _check([], Size(temperature=0))


def word_engines(exl2: WordEngine) -> Engines:
    return Engines(WordEngine("fp16"), WordEngine("twin", noise=0.01), exl2)


def test_searches_draw_questions_and_give_each_side_its_own_words():
    search = Search(word_engines(WordEngine("exl2")), 30, WordEncoder)
    one, again = (search.draw(np.random.default_rng(1), 12) for _ in range(2))
    assert one == again
    assert len(one.questions) == 12
    for words in zip(*(w.values() for w in one.wordings), strict=True):
        assert len(set(words)) == 3
    plain = search.samples(one, SAME, False)
    assert {s.key.question for s in plain} == one.questions | {"index"}
    assert sum(s.key.side == "exl2" for s in plain) == 12


def test_a_search_with_other_vectors_is_accused_and_the_twin_is_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.calibration_search.load_sentence_encoder", WordEncoder)
    models = Models.__new__(Models)
    models.engines = word_engines(WordEngine("exl2", salt="other"))
    rows = {(r["probe"], r["exl2"]): r for r in _search_rows(Size(runs=3, questions=15, of=30), models)}
    assert len(rows) == 4
    for words in ("same words", "other words"):
        assert rows[f"wrong_snippet, {words}", SAME]["accused"]["count"] == 0
        assert rows[f"wrong_snippet, {words}", QUANTIZED]["fail_accused"]["count"] == 3


def test_a_text_is_embedded_once():
    inner = WordEngine("fp16")
    vectors = Vectors(inner)
    found = vectors.embed(["a b", "c", "a b"], [1, 2])
    assert np.array_equal(found, inner.embed(["a b", "c", "a b"], [1, 2]))
    inner.embedded.clear()
    vectors.embed(["c", "d"], [1, 2])
    assert inner.embedded == ["d"]


def test_the_encoder_of_these_tests_gives_unit_rows():
    rows = BagEncoder().encode(["a b", "a b c"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1])
