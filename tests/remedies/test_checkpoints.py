from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.exl2.builders import tiny_tensors, write_folder
from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import GOLD, FailedRun, no_findings
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.inspect import inspect_folder
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.base import Case, NotApplicableError, Shop
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.store.records import Sample


@pytest.fixture
def run(tmp_path: Path) -> FailedRun:
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    quantize_folder(source, tmp_path / "exl2", bpw=3.6, head_bits=4, method="rtn")
    made = FailedRun()
    made.pair = Pair("p", "Pair", source, tmp_path / "exl2")
    return made


def with_shop(run: FailedRun, tmp_path: Path, opened: list[Path]) -> Case:
    def open_exl2(folder: Path) -> ScriptedEngine:
        opened.append(folder)
        return ScriptedEngine(GOLD)

    return replace(run.case(), pair=run.pair, shop=Shop(open_exl2, no_findings, tmp_path / "made"))


def test_more_bits_for_the_head_are_made_opened_and_asked(run: FailedRun, tmp_path: Path):
    opened: list[Path] = []
    case = with_shop(run, tmp_path, opened)
    remedy = get_remedy("raise_head_bits")
    first, *_ = remedy.candidates(case)
    assert first.patch == {"quantize.bpw": pytest.approx(3.6, abs=0.3), "quantize.head_bits": 6}
    search = TrialSearch(case, run.probe, [remedy], Budget(1e6, run.clock), lambda n: case)
    search.run()
    trial = run.trials()[0]
    assert (trial.facts.id, trial.effect.after) == ("raise_head_bits 6", 1.0)
    before, after = inspect_folder(run.pair.exl2), inspect_folder(opened[0])
    assert after.head_bpw > before.head_bpw
    assert after.decoder_bpw == before.decoder_bpw
    assert "made in" in trial.facts.note


def test_rates_that_are_tried_lie_apart(run: FailedRun, tmp_path: Path):
    rates = [
        c.patch["quantize.bpw"] for c in get_remedy("raise_bpw").candidates(with_shop(run, tmp_path, []))
    ]
    assert rates == sorted(rates)
    assert all(b - a >= 1 for a, b in zip(rates, rates[1:], strict=False))
    assert rates[-1] == 8.0


def test_parts_are_protected_only_where_they_do_damage(run: FailedRun, tmp_path: Path):
    case = with_shop(run, tmp_path, [])
    with pytest.raises(NotApplicableError, match="did not show a part"):
        get_remedy("protect_blocks").candidates(case)
    pair = [s for s in run.samples.values() if s.key.side == "pair"][:3]
    for part, left in (("mlp 0-0", 0.2), ("attn 0-0", 0.99), ("all", 0.0)):
        for sample in pair:
            key = replace(sample.key, side=f"part:{part}")
            run.samples[key] = Sample(key, {**sample.payload, "kl": [left * x for x in sample.payload["kl"]]})
    found = get_remedy("protect_blocks").candidates(case)
    assert {tuple(c.patch["quantize.protect"]) for c in found} == {("mlp 0-0",), ("mlp",)}
    assert all(len("try:" + c.id) <= 64 for c in found)


def test_a_folder_with_all_bits_says_so(run: FailedRun, tmp_path: Path):
    case = with_shop(run, tmp_path, [])
    quantize_folder(run.pair.fp16, tmp_path / "full", bpw=8.0, head_bits=8, method="rtn")
    full = replace(case, pair=replace(run.pair, exl2=tmp_path / "full"))
    for remedy in ("raise_bpw", "raise_head_bits"):
        with pytest.raises(NotApplicableError, match="that many bits already"):
            get_remedy(remedy).candidates(full)


def test_a_registered_folder_with_the_bits_is_used_instead_of_making_one(run: FailedRun, tmp_path: Path):
    opened: list[Path] = []
    case = with_shop(run, tmp_path, opened)
    ready = tmp_path / "ready"
    quantize_folder(run.pair.fp16, ready, bpw=6.0, head_bits=6, method="rtn")
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    case = replace(case, shop=replace(case.shop, siblings=(unreadable, ready)))
    remedy = get_remedy("raise_bpw")
    found = {c.id: c for c in remedy.candidates(case)}
    with remedy.apply(case, found["raise_bpw 6"]) as change:
        assert opened == [ready]
        assert "nothing had to be made" in change.note
    assert not (tmp_path / "made").exists()


def test_what_would_take_longer_than_there_is_time_is_not_begun(run: FailedRun, tmp_path: Path):
    case = with_shop(run, tmp_path, [])
    remedy = get_remedy("raise_bpw")
    found = remedy.candidates(case)
    assert all(c.seconds > 0 for c in found)
    search = TrialSearch(case, run.probe, [remedy], Budget(found[0].seconds / 2, run.clock), lambda n: case)
    search.run()
    trials = run.trials()
    assert {t.status for t in trials} == {"skipped"}
    assert "takes at least about a minute" in trials[0].facts.reason
    assert not (tmp_path / "made").exists()
