"""The settings of probes as data: complete, consistent with the probes, and honest about faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.catalog import FIXMAP
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.options import load_options, option_values, options_of
from wfgy_triage.probes.retrieval_plan import DEPLOYED, DEPTH
from wfgy_triage.probes.sampling import NEUTRAL, SUGGESTED
from wfgy_triage.workload.chains import STANDARD, load_chains
from wfgy_triage.workload.citations import LEVELS
from wfgy_triage.workload.json_records import RECORD_LEVELS


def words(symptom: str, name: str) -> set[str]:
    (option,) = (o for o in options_of(symptom) if o.name == name)
    return {c.value for c in option.choices}


def test_the_data_names_what_the_probes_have():
    for symptom in ("citations_missing", "acceptance_gate", "sixty_seconds"):
        assert words(symptom, "level") == set(LEVELS)
    assert words("json_breaks", "level") == set(RECORD_LEVELS)
    for symptom in ("json_breaks", "citations_missing", "long_chain"):
        assert words(symptom, "sampling") == {NEUTRAL, SUGGESTED}
        assert option_values(symptom, {})["sampling"] == NEUTRAL
    assert words("long_chain", "chains") == {k.level for k in load_chains().kinds.values()}
    assert words("wrong_snippet", "mode") == set(DEPLOYED) - {"given_independent"}
    assert option_values("long_chain", {})["chains"] == STANDARD
    (k,) = (o for o in options_of("wrong_snippet") if o.name == "k")
    assert k.whole == (1, DEPTH)


def test_usual_values_and_given_ones():
    usual = {"mode": "", "k": 5, "layer": "auto", "chunks": "", "index": ""}
    assert option_values("wrong_snippet", {}) == usual
    given = {"mode": "mixed", "k": 7, "layer": "12", "chunks": "/a b"}
    assert option_values("wrong_snippet", given) == usual | {**given, "layer": 12}
    assert option_values("json_breaks", {})["level"] == "standard"
    assert option_values("deploy_mismatch", {}) == {}


@pytest.mark.parametrize(
    ("symptom", "options", "message"),
    [
        ("deploy_mismatch", {"k": 5}, "no settings of its own"),
        ("wrong_snippet", {"depth": 3}, "Settings: mode, k"),
    ],
)
def test_unknown_names_are_refused(symptom: str, options: dict[str, object], message: str):
    with pytest.raises(InputError) as caught:
        option_values(symptom, options)
    assert message in caught.value.hint


@given(st.text(max_size=12) | st.integers() | st.floats())
def test_a_whole_number_is_one_within_its_bounds_or_an_error(value: object):
    try:
        found = option_values("wrong_snippet", {"k": value})["k"]
    except InputError:
        assert str(value).strip() not in {str(k) for k in range(1, 21)}
    else:
        assert found == (int(str(value).strip()) if value != "" else 5)
        assert 1 <= int(found) <= 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("symptom: long_chain", "symptom: longchain", "not the id of a symptom"),
        ("name: layer", "name: k", "'k' twice"),
        ('usual: "5"', 'usual: "50"', "usual is not possible: k cannot be '50'"),
        ("file: true", "whole: [1, 2]", "not valid"),
        ("whole: [1, 20]", "wholes: [1, 20]", "'wholes' is not known here"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, old: str, new: str, message: str):
    folder = Path(shutil.copytree(FIXMAP, tmp_path / "fixmap"))
    file = folder / "options.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PrerequisiteError, match=r"fixmap/options.yaml line \d+") as caught:
        load_options(folder)
    assert message in caught.value.message
