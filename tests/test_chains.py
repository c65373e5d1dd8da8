from __future__ import annotations

import json
import runpy
from collections import Counter

import pytest

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.measure.chain import ChainEnd, judge_chain, read_steps
from wfgy_triage.probes.long_chain import layout_of
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.workload import chains
from wfgy_triage.workload.chains import Chain, load_chains
from wfgy_triage.workload.texts import question_texts

WORKLOAD = load_chains()


def test_there_are_enough_chains_and_the_first_ones_are_balanced():
    standard = WORKLOAD.level()
    assert WORKLOAD.horizon >= 48
    assert len(standard) >= 60
    kinds = Counter(c.kind.name for c in standard[:20])
    assert len(kinds) >= 3
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert len({c.id for c in WORKLOAD.chains}) == len(WORKLOAD.chains)
    assert len({c.prompt for c in WORKLOAD.chains}) == len(WORKLOAD.chains)
    assert WORKLOAD.level("hard")
    assert WORKLOAD.level("baseline_fails")


@pytest.mark.parametrize("chain", WORKLOAD.chains, ids=lambda c: c.id)
def test_the_right_continuation_is_read_as_right(chain: Chain):
    outcome = judge_chain(
        read_steps(chain.gold_text, layout_of(chain), chain.horizon, True),
        chain.start,
        chain.truth,
        chain.follow,
        True,
    )
    assert outcome.kind is ChainEnd.RIGHT
    assert (outcome.consistent, outcome.repeats) == (1.0, 0.0)
    assert chain.prompt.endswith(chain.kind.separator)
    assert not any(stop in chain.gold_text for stop in chain.stop)


def by_kind(name: str) -> Chain:
    return next(c for c in WORKLOAD.chains if c.kind.name == name)


@pytest.mark.parametrize(
    ("params", "rule", "states"),
    [
        ({"start": [100], "change": [-1]}, "shift", ["99", "98", "97"]),
        ({"start": [60, 0], "change": [-1, 1]}, "shift", ["59 1", "58 2", "57 3"]),
        ({"start": [1], "change": [5], "modulus": 12}, "shift", ["6", "11", "4"]),
        ({"start": [10], "changes": [3, -1]}, "alternate", ["13", "12", "15"]),
        ({"states": ["on", "off", "idle"], "start": 1}, "cycle", ["idle", "on", "off"]),
    ],
)
def test_rules_compute_the_truth(params, rule, states):
    made = chains.RULES[rule](params)
    state, found = made.start, []
    for step in (1, 2, 3):
        state = made.follow(state, step)
        found.append(" ".join(state))
    assert found == states


@pytest.mark.parametrize("rule", ["shift", "alternate"])
def test_a_state_that_is_no_number_has_no_successor(rule):
    made = chains.RULES[rule]({"start": [1], "change": [1], "changes": [1]})
    assert made.follow(("seven",), 1) is None
    assert chains.RULES["cycle"]({"states": ["on", "off"], "start": 0}).follow(("up",), 1) is None


def test_the_page_can_say_what_a_chain_is():
    texts = question_texts("long_chain")
    assert set(texts) == {c.id for c in WORKLOAD.chains}
    assert texts[by_kind("ledger").id].startswith("Ledger: Start ")


def test_the_file_is_what_its_script_writes(tmp_path):
    made = runpy.run_path(str(REPO_ROOT / "tools" / "make_chains.py"))
    out = tmp_path / "chains.json"
    made["main"].__globals__["OUT"] = out
    made["main"]()
    assert out.read_bytes() == chains.CHAINS.read_bytes()


GOOD = json.loads(chains.CHAINS.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"id": "x"}',
        json.dumps({**GOOD, "chains": [{"id": "a", "kind": "nobody", "params": {}}]}),
        json.dumps({**GOOD, "chains": [{"id": "a", "kind": "ledger", "params": {}}]}),
        json.dumps(
            {**GOOD, "chains": [{"id": "a", "kind": "machine", "params": {"states": ["x"], "start": 3}}]}
        ),
    ],
)
def test_a_damaged_file_is_explained(tmp_path, monkeypatch, content: str):
    broken = tmp_path / "chains.json"
    broken.write_text(content)
    monkeypatch.setattr(chains, "CHAINS", broken)
    load_chains.cache_clear()
    try:
        with pytest.raises(PrerequisiteError, match="cannot be read"):
            load_chains()
    finally:
        load_chains.cache_clear()
