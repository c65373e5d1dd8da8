"""One component for every "pick one" of the page: native radios inside HTML of ours.

Native radios bring arrow keys, one tab stop and a legend for screen readers; Gradio's own radio buttons do not.
The markup travels as a property, never as the template: a template is evaluated in the browser, so text that a
model or a user wrote must not be part of one.
"""

from __future__ import annotations

import gradio as gr

_JS = """
const name = '%(name)s';
const sync = () => element.querySelectorAll(`input[name="${name}"]`).forEach(
  i => { i.checked = (i.value === props.value); });
const filter = () => {
  const picked = element.querySelector('input[data-filter]:checked');
  if (!picked) return;
  let shown = 0;
  element.querySelectorAll('[data-classes]').forEach(row => {
    row.hidden = !row.dataset.classes.split(' ').includes(picked.value);
    shown += row.hidden ? 0 : 1;
  });
  const none = element.querySelector('.none-left');
  if (none) none.hidden = shown > 0;
};
element.addEventListener('change', event => {
  if (event.target.name === name) { props.value = event.target.value; trigger('input'); }
  if (event.target.dataset.filter !== undefined) filter();
});
watch(['value', 'options'], () => { sync(); filter(); });
sync(); filter();
"""


def choice(name: str, options: str, value: str = "", elem_id: str | None = None) -> gr.HTML:
    """Make the component. Its value is the chosen radio's value; `.input` fires when the user chooses.

    Args:
        name: the radios' name attribute (a word of ours).
        options: escaped HTML that holds the radios; update it with `gr.HTML(options=...)`.
            Radios marked `data-filter` hide the elements whose `data-classes` lack their value.
        value: chosen at first; empty for none.
        elem_id: id of the component in the page.
    """
    return gr.HTML(
        value=value,
        # What is made in the browser later has no options until the server's next answer.
        html_template="${typeof options === 'undefined' ? '' : options}",
        js_on_load=_JS % {"name": name},
        apply_default_css=False,
        elem_id=elem_id or name,
        options=options,
    )


_SELECT_JS = """
const box = element.querySelector('select');
const sync = () => { if (props.value) box.value = props.value; };
box.addEventListener('change', () => { props.value = box.value; trigger('input'); });
watch('value', sync);
sync();
"""


def fixed_select(field: str, value: str, elem_id: str) -> gr.HTML:
    """Make a native drop-down whose options never change, for places that are not on the screen from the start.

    A component that is made in the browser later has its template and its value, but no other property.

    Args:
        field: HTML with one `select`. It is the template: words of ours only, nothing foreign.
        value: chosen at first.
        elem_id: id of the component in the page.
    """
    return gr.HTML(
        value=value, html_template=field, js_on_load=_SELECT_JS, apply_default_css=False, elem_id=elem_id
    )


# Shows the panel of the chosen tab. Copies the text beside the button, from the download beside it where there is one:
# markup does not keep every line end. Where the browser gives no clipboard, the text is selected instead.
_COPY_JS = """
element.addEventListener('click', async event => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const box = button.closest('.copy, .file');
  const text = box.querySelector('pre');
  const file = box.querySelector('a[download]')?.getAttribute('href');
  const whole = file ? decodeURIComponent(file.slice(file.indexOf(',') + 1)) : text.textContent;
  try {
    await navigator.clipboard.writeText(whole);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = 'Selected, press Ctrl+C';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 2000);
});
const shown = () => {
  const panels = [...element.querySelectorAll('[data-tab-panel]')];
  const tabs = [...element.querySelectorAll('[data-tab]')];
  if (!tabs.length) return;
  let picked = tabs.find(tab => tab.checked);
  if (!picked || !panels.some(panel => panel.dataset.tabPanel === picked.value)) picked = tabs[0];
  picked.checked = true;
  panels.forEach(panel => { panel.hidden = panel.dataset.tabPanel !== picked.value; });
};
element.addEventListener('change', event => { if (event.target.dataset.tab !== undefined) shown(); });
// New content is put into what is there, so the radio that was chosen before stays chosen.
watch('value', shown);
"""


def copy_panel(html: str = "", elem_id: str | None = None) -> gr.HTML:
    """Make a `panel` in which buttons marked `data-copy` copy the `pre` beside them.

    Radios marked `data-tab` show the element whose `data-tab-panel` is their value.
    """
    return gr.HTML(html, apply_default_css=False, js_on_load=_COPY_JS, elem_id=elem_id)


# New content is put into what is there, and what it does not say, as that something is unfolded, is taken away.
_FOLD_JS = """
const opened = new Set();
const key = fold => {
  const row = fold.closest('tr');
  const name = row && (row.querySelector('.name') ?? row.querySelector('th'));
  return `${name?.textContent ?? ''}|${fold.querySelector('summary')?.textContent ?? ''}`;
};
element.addEventListener('toggle', event => {
  if (event.target.open) opened.add(key(event.target)); else opened.delete(key(event.target));
}, true);
watch('value', () => element.querySelectorAll('details').forEach(fold => { fold.open = opened.has(key(fold)); }));
"""


def folding_panel(html: str = "", elem_id: str | None = None) -> gr.HTML:
    """Make a `panel` that is written anew while somebody reads it: what they unfolded stays unfolded."""
    return gr.HTML(html, apply_default_css=False, js_on_load=_FOLD_JS, elem_id=elem_id)


def panel(html: str = "", elem_id: str | None = None, elem_classes: str | None = None) -> gr.HTML:
    """Make a plain area for HTML of ours (everything foreign in it is escaped by its renderer)."""
    return gr.HTML(html, apply_default_css=False, js_on_load=None, elem_id=elem_id, elem_classes=elem_classes)
