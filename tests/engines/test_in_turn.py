"""Engines that take turns: never two loaded, the same results as side by side, and memory that is really given back."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from tests.engines.test_caches import WIDE
from tests.engines.test_scoring import REQUESTS
from wfgy_triage.doctor.engines import check_engines, check_first_answer
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines import spool
from wfgy_triage.engines.base import GenerationRequest, LogitChunk, TokenScores
from wfgy_triage.engines.caches import exact_cache
from wfgy_triage.engines.in_turn import Turns, engine_behind, load_now, make_room
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.putback import exchangeable_parts, kept_apart
from wfgy_triage.engines.scoring import score_each, score_many, score_pair
from wfgy_triage.engines.spool import Spool
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import InputError, PrerequisiteError, ProbeError
from wfgy_triage.exl2.convert import quantize_folder


class Opener:
    """Opens real engines, and refuses to have two of them loaded."""

    def __init__(self):
        self.loaded, self.opened = [], []

    def __call__(self, folder, **how):
        gc.collect()
        assert not [name for name, runner in self.loaded if runner() is not None], "two at a time"
        engine = open_engine(folder, **how)
        self.opened.append(how["side"] + "-" + how.get("mode", "reproducible"))
        self.loaded.append((self.opened[-1], weakref.ref(engine.runner.model)))
        return engine


@pytest.fixture(scope="module")
def folders(make_folder, tmp_path_factory):
    fp16 = make_folder("llama")
    exl2 = tmp_path_factory.mktemp("quantized") / "exl2"
    quantize_folder(fp16, exl2, bpw=4.5, method="rtn")
    return fp16, exl2


@pytest.fixture
def opener():
    return Opener()


@pytest.fixture
def turns(opener, tmp_path):
    return Turns(opener, tmp_path / "spool")


@pytest.fixture
def pair(turns, folders):
    return tuple(turns.open_engine(f, side=s) for f, s in zip(folders, ("fp16", "exl2"), strict=True))


@pytest.fixture
def beside(folders):
    return tuple(open_engine(f, side=s) for f, s in zip(folders, ("fp16", "exl2"), strict=True))


def asked(engine, text="A machine that"):
    return list(engine.generate([GenerationRequest("a", engine.encode(text), 12)]))


def same(ours: TokenScores, theirs: TokenScores):
    assert ours.id == theirs.id
    for name in TokenScores.__dataclass_fields__:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_answers_and_states_are_those_of_engines_side_by_side(pair, beside, opener):
    for _ in range(2):
        for mine, theirs in zip(pair, beside, strict=True):
            assert asked(mine) == asked(theirs)
            assert np.array_equal(mine.embed(["one", "two"], [1, 3]), theirs.embed(["one", "two"], [1, 3]))
    # Both were opened once to be known; then a side is loaded only where the other one was.
    assert opener.opened == [f"{s}-reproducible" for s in ("fp16", "exl2", "fp16", "exl2", "fp16", "exl2")]


def test_text_and_facts_need_no_weights(pair, beside, opener):
    for mine, theirs in zip(pair, beside, strict=True):
        chat = [{"role": "user", "content": "Hé"}]
        assert mine.render_chat(chat) == theirs.render_chat(chat)
        ids = mine.encode("Ünïcode")
        assert ids == theirs.encode("Ünïcode")
        assert mine.decode(ids) == "Ünïcode"
        assert mine.info == theirs.info
        assert mine.capabilities == replace(theirs.capabilities, in_turn=True)
        assert mine.tokenizer is not None
    assert len(opener.opened) == 2


def test_comparisons_are_the_same_to_the_last_bit(pair, beside, turns, folders, opener):
    twin = turns.open_engine(folders[0], side="fp16", mode="fast")
    other = open_engine(folders[0], side="fp16", mode="fast")
    for chunk in (7, 128):
        in_turn = list(score_many(pair[0], [pair[1], twin], REQUESTS, chunk))
        lockstep = list(score_many(beside[0], [beside[1], other], REQUESTS, chunk))
        assert [tuple(s.id for s in row) for row in in_turn] == [(r.id, r.id) for r in REQUESTS]
        for mine, theirs in zip(in_turn, lockstep, strict=True):
            for one, another in zip(mine, theirs, strict=True):
                same(one, another)
    # The first candidate is compared last, so that it stays loaded.
    assert opener.opened[-3:] == ["fp16-reproducible", "fp16-fast", "exl2-reproducible"]
    assert not list(turns.spool.iterdir())


def test_small_disks_take_several_goes(pair, beside, monkeypatch, opener):
    row = beside[0].info.vocab_size * 4
    monkeypatch.setattr(spool, "MOST_BYTES", 70 * row)
    for mine, theirs in zip(score_pair(*pair, REQUESTS), score_pair(*beside, REQUESTS), strict=True):
        assert mine.id == theirs.id
        # Another batch, as with another size of chunks.
        np.testing.assert_allclose(mine.kl, theirs.kl, rtol=1e-5)
    assert opener.opened.count("fp16-reproducible") > 2


def test_what_cannot_be_scored_is_refused_before_anything_is_loaded(pair, opener):
    bad = replace(REQUESTS[0], first=0)
    with pytest.raises(InputError, match="position 0"):
        score_pair(*pair, [bad])
    assert len(opener.opened) == 2


def test_a_stop_ends_the_baselines_reading_and_leaves_nothing(pair, turns, opener):
    assert list(score_each(pair[0], [pair[1]], [REQUESTS], should_stop=lambda: True)) == []
    assert opener.opened[-1] == "fp16-reproducible"
    assert not list(turns.spool.iterdir())


def test_a_disk_without_room_is_told_before_anything_is_computed(pair, monkeypatch, opener):
    usage = type("Usage", (), {"free": spool.LEFT_FREE + 10})
    monkeypatch.setattr(spool.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(PrerequisiteError, match=r"about 1\.1 GB are needed, 1\.1 GB are free"):
        list(score_pair(*pair, REQUESTS))
    assert len(opener.opened) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_disk_that_fills_up_is_told_in_words(tmp_path, monkeypatch):
    def full(dir: Path) -> BinaryIO:
        return Path("/dev/full").open("w+b")

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    with Spool(tmp_path) as kept, pytest.raises(PrerequisiteError, match="The disk is full") as caught:
        kept.add(LogitChunk("a", 1, torch.zeros(2, 5)))
    assert "resume this session" in caught.value.hint


def test_a_home_that_cannot_be_written_is_told_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="cannot be kept for the comparison"):
        Spool(tmp_path / "file")


def test_chunks_come_back_as_they_were(tmp_path):
    chunks = [LogitChunk(f"s{n}", n + 1, torch.randn(n + 1, 9)) for n in range(3)]
    with Spool(tmp_path / "made" / "here") as kept:
        for chunk in chunks:
            kept.add(chunk)
        for _ in range(2):
            for mine, theirs in zip(kept.chunks(), chunks, strict=True):
                assert (mine.id, mine.start) == (theirs.id, theirs.start)
                assert torch.equal(mine.logits, theirs.logits)
        assert list((tmp_path / "made" / "here").iterdir()) == [], "no name that a crash could leave behind"


def test_results_that_were_not_read_hold_no_memory_and_are_not_cut_short_silently(pair, opener):
    answers = pair[0].generate([GenerationRequest(str(n), pair[0].encode("x"), 4) for n in range(3)])
    next(answers)
    pieces = pair[0].logits(REQUESTS, 4)
    next(pieces)
    unread = pair[0].logits(REQUESTS, 4)
    asked(pair[1])  # `Opener` looks whether the first one's memory is free
    for stale in (answers, pieces, unread):
        with pytest.raises(ProbeError, match="given back"):
            next(stale)


def test_two_calls_of_one_engine_may_be_read_side_by_side(pair, beside):
    mine, theirs = (e.logits(REQUESTS, 16) for e in (pair[0], beside[0]))
    more = pair[0].logits(REQUESTS, 16)
    for one, two, three in zip(mine, more, theirs, strict=True):
        assert torch.equal(one.logits, three.logits)
        assert torch.equal(two.logits, three.logits)


def test_a_closed_engine_is_not_loaded_again_and_the_others_go_on(pair, opener):
    pair[1].close()
    pair[1].close()
    with pytest.raises(ProbeError, match="closed"):
        asked(pair[1])
    assert asked(pair[0])
    assert opener.opened.count("exl2-reproducible") == 1


def test_room_can_be_made_for_something_else(pair, opener):
    load_now(pair[0])
    make_room(pair[1])
    gc.collect()
    assert not [name for name, model in opener.loaded if model() is not None]
    assert asked(pair[0])


def test_a_finer_cache_is_the_model_loaded_with_it(turns, make_folder, tmp_path, opener):
    quantize_folder(make_folder("llama", **WIDE), tmp_path / "exl2", bpw=4.5, method="rtn")
    coarse, plain = (
        open_it(tmp_path / "exl2", side="exl2", settings=EngineSettings(cache="Q4"))
        for open_it in (turns.open_engine, open_engine)
    )
    assert asked(coarse) == asked(plain)
    mine, theirs = exact_cache(coarse), exact_cache(plain)
    assert (mine.info, asked(mine)) == (theirs.info, asked(theirs))
    mine.close()
    assert asked(coarse) == asked(plain)
    assert opener.opened == ["exl2-reproducible"] * 3


def test_weights_are_not_put_back_where_only_one_model_is_loaded(pair, beside):
    assert exchangeable_parts(*reversed(beside))
    assert not exchangeable_parts(*reversed(pair))
    assert kept_apart(*reversed(pair))
    assert kept_apart(beside[1], pair[0]), "the same weights opened apart find FP16 away too"
    assert not kept_apart(*reversed(beside))
    assert isinstance(engine_behind(pair[0]), TransformersEngine)


def test_the_doctor_finds_the_same_with_one_more_load(pair, beside, opener):
    assert check_engines(*pair) == check_engines(*beside)
    assert opener.opened[2:] == ["fp16-reproducible"], "EXL2 was loaded, and FP16 is asked next"
    assert check_first_answer(pair[1]).state is check_first_answer(beside[1]).state
    assert opener.opened[3:] == ["exl2-reproducible"]
