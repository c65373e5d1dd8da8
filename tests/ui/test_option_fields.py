"""Step 2: the settings of a probe as fields, through the page's handlers."""

from __future__ import annotations

import json

import pytest

from tests.ui.conftest import Stage
from wfgy_triage.options import load_options, options_of
from wfgy_triage.ui.option_fields import chosen_options, fields_of, value_of


def test_every_setting_has_a_labelled_field_and_no_symptom_has_one_of_another():
    for symptom in {o.symptom for o in load_options()}:
        html = fields_of(symptom)
        own = [o for o in options_of(symptom) if not o.file]
        shown = {o.name for o in load_options() if f'name="{o.name}"' in html}
        assert shown == {o.name for o in own}
        for option in own:
            assert f'<label for="option-{option.name}">' in html
            assert all(f'value="{c.value}"' in html for c in option.choices)
    assert fields_of("deploy_mismatch") == fields_of("") == ""


def test_choosing_a_symptom_shows_its_fields_as_usual(stage: Stage):
    stage.call("choose_symptom", "citations_missing")
    assert "<select" in stage.said("options")["options"]
    assert stage.said("options")["value"] == "{}"
    assert stage.call("choose_symptom", "deploy_mismatch").said("options")["options"] == ""


def test_what_is_chosen_reaches_the_run(stage: Stage):
    said = {"mode": "rebuilt", "k": "10", "layer": "3"}
    stage.call("start", "wrong_snippet", "demo", 20, "", "180", 4, json.dumps(said))
    spec = stage.context.service.get(stage.said("run_id")).spec
    assert (spec.options, spec.seed) == (said, 4)
    assert json.loads(value_of("wrong_snippet", spec.options)) == said
    assert chosen_options("wrong_snippet", value_of("wrong_snippet", spec.options)) == said


@pytest.mark.parametrize(
    ("symptom", "options", "message", "hint"),
    [
        ("wrong_snippet", {"k": "21"}, "k cannot be &#x27;21&#x27;", "a whole number from 1 to 20"),
        ("wrong_snippet", {"k": "5.5"}, "k cannot be", "a whole number from 1 to 20"),
        (
            "wrong_snippet",
            {"layer": "top"},
            "layer cannot be",
            "auto, last or a whole number from 0 to 1,000",
        ),
        ("wrong_snippet", {"mode": "given"}, "needs an index", "Give an index"),
        ("wrong_snippet", {"mode": "<i>"}, "mode cannot be", "mixed"),
        ("citations_missing", {"level": "easy"}, "level cannot be", "standard or hard"),
        ("json_breaks", {"level": "easy"}, "level cannot be", "standard or hard"),
        ("long_chain", {"chains": "x"}, "chains cannot be", "baseline_fails"),
        ("long_chain", {"level": "hard"}, "do not fit this symptom", "Set them again"),
    ],
)
def test_bad_values_are_refused_before_anything_is_queued(
    stage: Stage, symptom: str, options: dict[str, str], message: str, hint: str
):
    stage.call("start", symptom, "demo", 20, "", "off", 0, json.dumps(options))
    notice = stage.said("notice")
    assert message in notice
    assert hint in notice
    assert "<i>" not in notice
    assert stage.context.service.count() == 0


@pytest.mark.parametrize("value", ["[]", "nonsense", '{"k": ', "null", '{"": 1}'])
def test_values_that_no_field_gives_are_refused(stage: Stage, value: str):
    stage.call("start", "wrong_snippet", "demo", 20, "", "off", 0, value)
    assert "do not fit this symptom" in stage.said("notice")
