"""The doctor's data: complete, consistent, and honest about its faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wfgy_triage.catalog import FIXMAP, load_catalog
from wfgy_triage.checks import load_checks, load_versions
from wfgy_triage.diagnosis import CHECK_CAUSES
from wfgy_triage.errors import InputError, PrerequisiteError


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXMAP, tmp_path / "fixmap"))


def test_every_cause_of_a_deployment_has_a_check():
    causes = {c.cause for c in load_checks().values()} | {s.cause for s in load_versions().signatures}
    assert causes >= {
        "tokenizer_mismatch", "chat_template_mismatch", "special_tokens_mismatch", "rope_mismatch",
        "checkpoint_corrupt",
        "checkpoint_mismatch", "noncausal_prefill", "kernel_version_skew", "extension_missing", "context_overflow",
        "config_mismatch", "model_not_loadable",
    }  # fmt: skip
    assert causes - {None} <= set(load_catalog().causes)


def test_the_ladder_begins_with_the_text_and_ends_with_what_is_loaded():
    order = list(CHECK_CAUSES)
    assert order[0] == "same_token_ids"
    assert order.index("same_rope") < order.index("checkpoint_intact") < order.index("causal_attention")


def test_the_environment_is_no_evidence_for_a_measurement_on_the_reference_engine():
    checks = load_checks().values()
    assert not any(c.ladder or c.essential or c.fatal for c in checks if c.group == "environment")


@pytest.mark.parametrize(
    ("torch", "cuda", "python", "there"),
    [
        ("2.9.0", "128", "313", True),
        ("2.5.1", "121", "311", True),
        ("2.6.0", "121", "311", False),
        ("2.10.0", "128", "311", False),
        ("2.3.1", "118", "313", False),
    ],
)
def test_the_matrix_of_wheels(torch: str, cuda: str, python: str, there: bool):
    row = load_versions().wheel_row(torch)
    assert (row is not None and cuda in row.cuda and python in row.python) == there


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("checks.yaml", "cause: tokenizer_mismatch", "cause: nothing", "not in causes.yaml"),
        ("checks.yaml", "- id: tokenizer_files", "- id: same_token_ids", "given twice"),
        ("checks.yaml", "fatal: false", "fatal: perhaps", "fatal"),
        ("versions.yaml", "cause: kernel_version_skew", "cause: nothing", "not in causes.yaml"),
        ("versions.yaml", "'undefined symbol'", "'undefined (symbol'", "not a regular expression"),
        ("versions.yaml", 'torch: "2.3.1"', 'torch: "new"', "does not match"),
    ],
)
def test_a_fault_in_the_data_names_file_and_line(copy: Path, name: str, old: str, new: str, said: str):
    path = copy / name
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    load = load_checks if name == "checks.yaml" else load_versions
    with pytest.raises(PrerequisiteError, match=said) as caught:
        load(copy)
    assert f"fixmap/{name} line" in str(caught.value)


def test_an_unknown_check_names_the_known_ones():
    with pytest.raises(InputError, match="no check with the id 'nope'"):
        load_checks()["nope"]
