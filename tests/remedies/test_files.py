"""What each remedy of files would change, read off the doctor's findings on small broken folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.faults import FAULTS, edit_json, write
from tests.doctor.conftest import copy_with, healthy  # noqa: F401 - fixtures
from tests.remedies.bench import no_engine, no_findings
from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.doctor.summary import diagnose_findings
from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.subject import Subject
from wfgy_triage.remedies.base import Case, FolderRemedy, NotApplicableError, Shop
from wfgy_triage.remedies.files import REMEDIES
from wfgy_triage.remedies.registry import get_remedy

COPY = "files.copy"


def case_of(pair: Pair, items: tuple[Item, ...] = ()) -> Case:
    findings = check_folders(pair)
    absent = AbsentEngine()
    context = ProbeContext(
        fp16=absent, exl2=absent, open_floor=lambda: absent, settings=ProbeSettings(), done=frozenset(),
        stored=tuple, save=lambda samples: None, progress=lambda *a: None, should_stop=lambda: False,
        findings=findings,
    )  # fmt: skip
    shop = Shop(no_engine, no_findings, Path())
    return Case(context, Subject("deploy_mismatch", items), pair, diagnose_findings(findings), shop)


def offered(case: Case) -> dict[str, object]:
    """Patch of every candidate of every remedy of files, by the candidate's id; the reason where there is none."""
    found: dict[str, object] = {}
    for remedy in REMEDIES.values():
        try:
            found |= {c.id: dict(c.patch) for c in remedy.candidates(case)}
        except NotApplicableError as reason:
            found[remedy.id] = str(reason)
    return found


def patches(case: Case) -> dict[str, object]:
    return {k: v for k, v in offered(case).items() if isinstance(v, dict)}


EXPECTED: dict[str, dict[str, dict[str, object]]] = {
    "tokens_shifted": {"fix_tokenizer": {COPY: ["tokenizer.json"]}},
    "tokenizer_gone": {"fix_tokenizer": {COPY: ["tokenizer.json"]}},
    "special_tokens_gone": {"fix_tokenizer": {COPY: ["tokenizer.json"]}},
    "template_other": {"fix_template": {COPY: ["chat_template.jinja"]}},
    "template_gone": {"fix_template": {COPY: ["chat_template.jinja"]}},
    "template_without_answer": {"fix_template": {COPY: ["chat_template.jinja"]}},
    "start_token_doubled": {"fix_tokenizer": {COPY: ["tokenizer.json"]}},
    "end_list_cut": {"stop_tokens": {"generation_config.eos_token_id": [0, 257]}},
    "rope_missing": {"fix_rope": {"config.rope_theta": 5e4}},
    "rope_wrong": {
        "fix_rope": {
            "config.rope_theta": 5e4,
            "config.rope_parameters": {"rope_type": "default", "rope_theta": 5e4},
        }
    },
    "rope_scaled": {"fix_rope": {"config.rope_scaling": None}},
    "tie_flag_wrong": {"fix_config same_tie": {"config.tie_word_embeddings": True}},
    "context_small": {"fix_config same_context": {"config.max_position_embeddings": 512}},
    "activation_other": {"fix_config same_settings": {"config.hidden_act": "silu"}},
    "vocabulary_other": {"fix_config same_vocabulary": {"config.vocab_size": 272}},
    "layers_other": {"fix_config same_architecture": {"config.num_hidden_layers": 3}},
    "config_cut": {"fix_config readable": {COPY: ["config.json"]}},
}
"""The one change that mends each fault; faults that are not here cannot be mended by files of the FP16 folder."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_each_fault_is_answered_by_one_change_or_by_none(fault, copy_with):  # noqa: F811
    assert patches(case_of(copy_with(fault))) == EXPECTED.get(fault.id, {})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_the_fix_map_lists_the_change_for_the_cause_that_is_named(fault):
    wanted = {candidate.split()[0] for candidate in EXPECTED.get(fault.id, {})}
    assert wanted <= set(load_catalog().causes[fault.cause].remedies)


def test_every_cause_with_a_change_of_files_ends_with_all_of_them():
    for cause in load_catalog().causes.values():
        mine = [r for r in cause.remedies if r in REMEDIES]
        assert not mine or (mine[-1] == "fix_all" and len(mine) > 1), cause.id


def test_a_healthy_pair_gives_reasons_and_no_change(healthy: Pair):  # noqa: F811
    found = offered(case_of(healthy))
    assert set(found) == set(REMEDIES)
    assert all(isinstance(reason, str) and reason.endswith(".") for reason in found.values())


def test_they_are_changes_of_folders_and_known_by_their_ids():
    for remedy_id, remedy in REMEDIES.items():
        assert isinstance(get_remedy(remedy_id), FolderRemedy)
        assert get_remedy(remedy_id) is remedy
        assert remedy_id in load_catalog().remedies


def test_two_faults_are_also_mended_together(copy_with):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        faults.template_other(fp16, exl2)
        faults.tokens_shifted(fp16, exl2)
        faults.rope_missing(fp16, exl2)

    found = patches(case_of(copy_with(breaks)))
    assert sorted(found) == ["fix_all", "fix_rope", "fix_template", "fix_tokenizer"]
    assert found["fix_all"] == {
        COPY: ["tokenizer.json", "chat_template.jinja"], "config.rope_theta": 5e4
    }  # fmt: skip


def test_together_is_offered_where_the_named_cause_lists_no_change_that_does_it(copy_with):  # noqa: F811
    """The tokenizer cannot be mended by copying it, and config.json can."""

    def breaks(fp16: Path, exl2: Path) -> None:
        edit_json(exl2 / "config.json", lambda d: d.update(vocab_size=200))

    case = case_of(copy_with(breaks))
    assert case.diagnosis.cause == "tokenizer_mismatch"
    found = offered(case)
    assert found["fix_all"] == found["fix_config same_vocabulary"] == {"config.vocab_size": 272}
    assert "same" in str(found["fix_tokenizer"])


def test_a_template_is_copied_in_the_file_that_carries_it(copy_with):  # noqa: F811
    def in_config(folder: Path, text: str) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        edit_json(folder / "tokenizer_config.json", lambda d: d.update(chat_template=text))

    def both(fp16: Path, exl2: Path) -> None:
        in_config(fp16, "{{ messages[0].content }}")
        in_config(exl2, "{{ messages[-1].content }}")

    def only_fp16(fp16: Path, exl2: Path) -> None:
        in_config(fp16, "{{ messages[0].content }}")

    assert patches(case_of(copy_with(both))) == {"fix_template": {COPY: ["tokenizer_config.json"]}}
    found = offered(case_of(copy_with(only_fp16)))
    assert "goes before it" in str(found["fix_template"])


def test_a_tokenizer_file_that_holds_the_only_template_takes_it_along(copy_with):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        faults.tokens_shifted(fp16, exl2)
        text = (exl2 / "chat_template.jinja").read_text()
        (exl2 / "chat_template.jinja").unlink()
        edit_json(exl2 / "tokenizer_config.json", lambda d: d.update(chat_template=text))

    assert patches(case_of(copy_with(breaks))) == {
        "fix_tokenizer": {COPY: ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]}
    }


def test_a_template_is_no_remedy_where_questions_have_been_asked(copy_with):  # noqa: F811
    case = case_of(copy_with(faults.template_other), (Item("q", (1, 2), 4),))
    assert "FP16 model's template" in str(offered(case)["fix_template"])
    assert patches(case) == {}


def test_end_tokens_are_set_in_every_file_that_differs(copy_with):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        edit_json(
            fp16 / "generation_config.json", lambda d: d.update(eos_token_id=[257, 5], bos_token_id=256)
        )
        edit_json(exl2 / "generation_config.json", lambda d: d.update(eos_token_id=7, bos_token_id=3))
        edit_json(exl2 / "config.json", lambda d: d.update(eos_token_id=7))

    assert patches(case_of(copy_with(breaks))) == {
        "stop_tokens": {
            "config.bos_token_id": 256,
            "config.eos_token_id": 257,
            "generation_config.eos_token_id": [5, 257],
            COPY: ["generation_config.json"],
        }
    }


def test_end_tokens_that_fp16_does_not_name_are_not_invented(copy_with):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        for name in ("config.json", "generation_config.json"):
            edit_json(fp16 / name, lambda d: d.pop("eos_token_id", None))

    assert "names no end token" in str(offered(case_of(copy_with(breaks)))["stop_tokens"])


def test_scaling_is_replaced_whole(copy_with):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        both = {"type": "linear", "rope_type": "linear", "factor": 2.0}
        edit_json(fp16 / "config.json", lambda d: d.update(rope_scaling={"type": "linear", "factor": 4.0}))
        edit_json(exl2 / "config.json", lambda d: d.update(rope_scaling=both))

    found = patches(case_of(copy_with(breaks)))
    # One check asks for FP16's factor, the other for one name of the kind: FP16's whole object serves both.
    assert found == {"fix_rope": {"config.rope_scaling": {"rope_type": "linear", "factor": 4.0}}}


def test_files_that_fp16_lacks_as_well_cannot_be_restored(copy_with):  # noqa: F811
    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            write(folder / "generation_config.json", b"{")

    assert "no readable file" in str(offered(case_of(copy_with(breaks)))["fix_config"])


def test_settings_that_folders_suggest_are_named_where_both_sides_were_asked_neutrally(copy_with):  # noqa: F811
    def warm(fp16: Path, exl2: Path) -> None:
        edit_json(exl2 / "generation_config.json", lambda d: d.update(temperature=0.7))

    with pytest.raises(NotApplicableError, match=r"temperature 0\.7 \(FP16: not set\)"):
        get_remedy("neutral_sampler").candidates(case_of(copy_with(warm)))
    with pytest.raises(NotApplicableError, match="suggest the same"):
        get_remedy("neutral_sampler").candidates(case_of(copy_with(lambda fp16, exl2: None)))


def test_patches_are_plain_json(copy_with):  # noqa: F811
    for fault in FAULTS[:12]:
        found = patches(case_of(copy_with(fault)))
        assert json.loads(json.dumps(found)) == found
