"""The settings of a symptom's probe as fields of step 2: made from `fixmap/options.yaml`, no symptom is named here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from wfgy_triage.errors import InputError
from wfgy_triage.options import Option, options_of

NOTHING = "{}"
"""The value of the fields while all of them are as usual."""
_LONGEST = 2_000

# The component's value is a JSON object of the fields that are not as usual.
_JS = """
const fields = () => element.querySelectorAll('[data-option]');
const chosen = () => { try { return JSON.parse(props.value || '{}'); } catch { return {}; } };
const sync = () => {
  const said = chosen();
  fields().forEach(f => { if (f !== document.activeElement) f.value = said[f.name] ?? f.dataset.option; });
};
element.addEventListener('input', event => {
  if (event.target.dataset.option === undefined) return;
  const said = {};
  fields().forEach(f => {
    const value = f.value.trim();
    if (value && value !== f.dataset.option) said[f.name] = value;
  });
  props.value = JSON.stringify(said);
  trigger('input');
});
watch(['value', 'options'], sync);
sync();
"""


def option_fields(elem_id: str) -> gr.HTML:
    """Make the component; `fields_of` fills it."""
    return gr.HTML(
        value=NOTHING,
        html_template="${typeof options === 'undefined' ? '' : options}",
        js_on_load=_JS,
        apply_default_css=False,
        elem_id=elem_id,
        options="",
    )


def fields_of(symptom: str) -> str:
    """Return the fields of a symptom as HTML; empty for one without settings."""
    fields = "".join(_field(option) for option in _shown(symptom))
    return f'<div class="fields">{fields}</div>' if fields else ""


def chosen_options(symptom: str, value: str | None) -> dict[str, str]:
    """The run options that the fields say. Their values are checked where the run is started.

    Raises:
        InputError: the value is none that the fields of this symptom could give.
    """
    try:
        said = json.loads((value or NOTHING)[:_LONGEST])
    except ValueError:
        said = None
    names = {option.name for option in _shown(symptom)}
    if not isinstance(said, dict) or not said.keys() <= names:
        raise InputError("The details for engineers do not fit this symptom.", "Set them again.")
    return {name: str(v) for name, v in said.items() if str(v).strip()}


def kept_value(symptom: str, value: str | None) -> str:
    """The value of the fields after the symptom was changed: its own settings stay, others go."""
    try:
        return json.dumps(chosen_options(symptom, value))
    except InputError:
        return NOTHING


def value_of(symptom: str, options: Mapping[str, Any]) -> str:
    """The value of the fields that shows the options of a run."""
    return json.dumps({o.name: str(options[o.name]) for o in _shown(symptom) if o.name in options})


def _shown(symptom: str) -> tuple[Option, ...]:
    return tuple(option for option in options_of(symptom) if not option.file)


def _field(option: Option) -> str:
    name = f"option-{option.name}"
    shared = (
        f'id="{name}" name="{escape(option.name)}" data-option="{escape(option.usual)}" '
        f'aria-describedby="{name}-info" autocomplete="off"'
    )
    if option.whole is None:
        items = [("", option.unset)] if not option.usual else []
        items += [(c.value, c.label) for c in option.choices]
        listed = "".join(f'<option value="{escape(v)}">{escape(text)}</option>' for v, text in items)
        control = f"<select {shared}>{listed}</select>"
    elif option.choices:
        words = "".join(
            f'<option value="{escape(c.value)}">{escape(c.label)}</option>' for c in option.choices
        )
        control = (
            f'<input type="text" {shared} list="{name}-words" value="{escape(option.usual)}" maxlength="60">'
            f'<datalist id="{name}-words">{words}</datalist>'
        )
    else:
        low, high = option.whole
        control = (
            f'<input type="number" {shared} min="{low}" max="{high}" step="1" value="{escape(option.usual)}">'
        )
    return (
        f'<div class="field"><label for="{name}">{escape(option.label)}</label>'
        f'{control}<p id="{name}-info" class="dim small">{escape(option.info)}</p></div>'
    )
