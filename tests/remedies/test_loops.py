from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.probes.fakes import ScriptedEngine
from tests.remedies.scripts import CHAINS, PromptEngine, chain_case, counting
from wfgy_triage.catalog import load_catalog
from wfgy_triage.engines.base import Completion, GenerationRequest
from wfgy_triage.remedies.chain_loops import GAP, RESTATED, ChainDraft, bridged
from wfgy_triage.remedies.loops import Draft, ask
from wfgy_triage.remedies.registry import get_remedy, triable


class Pieces(ScriptedEngine):
    """Tokens of one to three characters."""

    words = ("a", "bc", "def", "\n", " 1")

    def decode(self, token_ids):
        return "".join(self.words[i] for i in token_ids)


@given(st.lists(st.integers(0, 4), max_size=20), st.data())
def test_a_cut_keeps_the_fewest_tokens_that_spell_the_text(ids, data):
    engine = Pieces({})
    draft = Draft(engine.decode(ids), tuple(ids), (-0.5,) * len(ids))
    size = data.draw(st.integers(0, len(draft.text)))
    cut = draft.cut(engine, size)
    assert cut.text == draft.text[:size]
    assert engine.decode(cut.token_ids).startswith(cut.text)
    assert len(engine.decode(cut.token_ids[:-1])) < max(size, 1)
    assert len(cut.logprobs) == len(cut.token_ids)


def test_parts_are_joined_and_a_round_leaves_out_what_was_cancelled():
    part = Completion("x", "b", (2,), (-0.2,), "stop")
    assert Draft("a", (1,), (-0.1,)).plus(part, ",") == Draft("a,b", (1, 2), (-0.1, -0.2))

    class Cancelling(PromptEngine):
        def generate(self, requests, should_stop=None):
            yield Completion("x", "b", (2,), (-0.2,), "stop")
            yield Completion("y", "", (), (), "cancelled")

    asked = [GenerationRequest(n, (1,), 5) for n in "xy"]
    assert set(ask(Cancelling(counting(1, 1)), asked, None)) == {"x"}
    engine = PromptEngine(counting(1, 1))
    assert ask(engine, [], None) == {}
    assert engine.calls == []


@pytest.mark.parametrize("chain", [c for c in CHAINS.values() if c.id.endswith("01")], ids=lambda c: c.id)
def test_a_bridge_is_the_beginning_a_gap_and_the_last_steps(chain):
    assert bridged(chain, ()) == chain.prompt
    lines = chain.gold_steps[:20]
    prompt = bridged(chain, lines)
    assert prompt.startswith(chain.prompt)
    assert prompt.endswith("".join(lines[-RESTATED:]))
    assert prompt.removeprefix(chain.prompt).strip().startswith(GAP)
    # The model writes a line for each step, so the gap is one too.
    assert prompt.count(chain.kind.separator) == chain.prompt.count(chain.kind.separator) + 1 + RESTATED


def test_a_step_that_the_model_ended_itself_is_closed_before_the_next_part():
    chain = next(c for c in CHAINS.values() if c.kind.name == "tens")
    request = GenerationRequest(f"{chain.id}/0/0", (1,), 100)
    text = "".join(chain.gold_steps[:3]).removesuffix(",")
    draft = ChainDraft(chain, request).plus(Completion("", text, (), (), "stop"))
    assert draft.lines == chain.gold_steps[:3]
    longer = draft.plus(Completion("", chain.gold_steps[3], (), (), "length"))
    assert longer.draft.text == "".join(chain.gold_steps[:4])
    # What the length limit broke off is no step.
    broken = draft.plus(Completion("", chain.gold_steps[3][:2], (), (), "length"))
    assert len(broken.steps) == 3


def test_every_remedy_that_can_be_tried_is_in_the_fix_map_under_its_own_id():
    for remedy_id in triable():
        assert remedy_id in load_catalog().remedies
        assert get_remedy(remedy_id).id == remedy_id


def test_candidates_have_short_ids_that_stay_the_same():
    case = chain_case(PromptEngine(counting(10, 99)), questions=1)
    for remedy_id in ("segment_chain", "rebirth", "alternate_paths"):
        found = get_remedy(remedy_id).candidates(case)
        assert [c.id for c in found] == [c.id for c in get_remedy(remedy_id).candidates(case)]
        assert all(len(c.id) <= 48 and c.remedy == remedy_id and c.label for c in found)
