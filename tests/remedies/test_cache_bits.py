"""A finer cache: what is tried, on the weights that are loaded, and how it reaches a server's settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import BROKEN, GOLD, FailedRun
from wfgy_triage.remedies.base import NotApplicableError
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.renders import render


class Cached(ScriptedEngine):
    """Answers that get better as the cache does."""

    made = closed = 0

    def __init__(self, cache: str = "Q4") -> None:
        super().__init__(BROKEN if cache in ("Q4", "Q6") else GOLD)
        self.info = replace(self.info, cache=cache)

    def with_cache(self, cache: str) -> Cached:
        Cached.made += 1
        return Cached(cache)

    def close(self) -> None:
        Cached.closed += 1


class CoarseRun(FailedRun):
    def __init__(self, cache: str) -> None:
        super().__init__()
        self.exl2 = Cached(cache)


@pytest.fixture
def run() -> Iterator[CoarseRun]:
    return CoarseRun("Q4")


def test_finer_kinds_are_tried_from_the_smallest_until_one_helps(run):
    trials = run.search(get_remedy("cache_bits"))
    assert [t.facts.id for t in trials] == ["cache_bits Q6", "cache_bits Q8"]
    assert trials[1].facts.restored == trials[1].facts.lost > 0
    assert run.recommended()["patch"] == {"model.cache_mode": "Q8"}


def test_every_cache_that_is_made_is_given_back_and_none_is_made_to_see_whether_it_can_be(run):
    made, closed = Cached.made, Cached.closed
    assert len(get_remedy("cache_bits").candidates(run.case())) == 3
    assert Cached.made == made
    run.search(get_remedy("cache_bits"))
    assert Cached.made - made == Cached.closed - closed >= 2


@pytest.mark.parametrize(("cache", "why"), [("FP16", "as they are computed"), ("", "cannot be exchanged")])
def test_nothing_to_try(cache, why):
    with pytest.raises(NotApplicableError, match=why):
        get_remedy("cache_bits").candidates(CoarseRun(cache).case())


def test_an_engine_with_the_one_cache_it_was_loaded_with(run):
    case = run.case()
    fixed = ScriptedEngine(BROKEN)
    fixed.info = replace(fixed.info, cache="Q4")
    with pytest.raises(NotApplicableError, match="cannot be exchanged"):
        get_remedy("cache_bits").candidates(replace(case, context=replace(case.context, exl2=fixed)))


def test_the_change_is_written_for_servers_and_scripts():
    files = render(Patch({"model.cache_mode": "Q8"}), Facts("fp16", "exl2"))
    assert "cache_mode: Q8" in str(files["tabbyapi"])
    assert "ExLlamaV2Cache_Q8" in str(files["python"])
