"""What to do next, as HTML: the fix modules of the map, and the candidate changes that belong to the cause."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from wfgy_triage.catalog import Catalog
from wfgy_triage.report.icons import icon
from wfgy_triage.result import Result, State


def module_cards(module_ids: Iterable[str], catalog: Catalog) -> str:
    """Return the linked fix pages: title, problem number, one plain paragraph, link."""
    cards = []
    for module_id in module_ids:
        module = catalog.modules.get(module_id)
        if module is None:
            continue
        numbers = "".join(f'<span class="tag">Problem No. {n}</span>' for n in module.problem_numbers)
        cards.append(
            f'<li class="module"><h4>{escape(module.title)} {numbers}</h4><p>{escape(module.about)}</p>'
            f"{outside_link(module.url, 'Open the page', f'Open the page: {module.title}')}</li>"
        )
    return f'<ul class="modules">{"".join(cards)}</ul>'


def outside_link(url: str, text: str, label: str = "") -> str:
    """Return a link to another site; it opens in a new tab and says so to screen readers."""
    name = f' aria-label="{escape(label)} (opens in a new tab)"' if label else ""
    return (
        f'<a class="out" href="{escape(url)}" target="_blank" rel="noopener noreferrer"{name}>'
        f"{escape(text)}{icon('link')}</a>"
    )


def wfgy_names(term_ids: Iterable[str], catalog: Catalog) -> str:
    """Return WFGY's names beside the plain ones, with what each does here. Unknown names are left out."""
    rows = "".join(
        f"<div><dt><b>{escape(t.name)}</b> {escape(t.plain_name)}</dt><dd>{escape(t.here)}</dd></div>"
        for t in (catalog.terms.get(term_id) for term_id in term_ids)
        if t is not None
    )
    return f'<dl class="terms">{rows}</dl>' if rows else ""


def fix_panel(result: Result, catalog: Catalog) -> str:
    """Return the page of step 5: what the cause asks for, candidates not yet tried, and the modules."""
    cause = catalog.causes.get(result.diagnosis.cause)
    symptom = catalog.symptoms.get(result.symptom)
    linked = [m.id for m in result.modules] or list(symptom.modules if symptom else ())
    names = wfgy_names(symptom.wfgy if symptom else (), catalog)
    remedies = cause.remedies if cause else ()
    advice = f"<p>{escape(cause.what_to_do)}</p>" if cause else ""
    return (
        '<div class="columns"><section class="card"><p class="eyebrow">What the cause asks for</p>'
        f"<h3>{escape(cause.title if cause else result.diagnosis.cause)}</h3>{advice}"
        f"{verified_note(result)}{_remedies(remedies, catalog)}</section>"
        '<section class="card"><p class="eyebrow">Fix pages of the WFGY map</p>'
        f"{module_cards(linked, catalog)}"
        + (
            f'<details class="why"><summary>WFGY names in plain words</summary>{names}</details>'
            if names
            else ""
        )
        + "</section></div>"
    )


def verified_note(result: Result) -> str:
    """Say plainly whether any change has been tried on these models."""
    if result.recommendation is not None and result.recommendation.get("verified"):
        return '<p class="callout tone-ok">Tried on these models: the re-check passed.</p>'
    if result.state is State.PASS:
        return '<p class="callout tone-ok">This symptom was not confirmed, so there is nothing to fix.</p>'
    return (
        f'<p class="callout tone-mute">{icon("warning")}<span><b>Nothing has been verified.</b> No change was '
        "tried on your models in this run. What you find here comes from the fix map; make one change, then "
        "measure again.</span></p>"
    )


def _remedies(remedy_ids: Iterable[str], catalog: Catalog) -> str:
    items = "".join(
        f'<li><h4>{escape(r.title)} <span class="tag">not tried on your models</span></h4>'
        f'<p>{escape(r.change)}</p><p class="dim small">Costs: {escape(r.cost)}{_wfgy_suffix(r.wfgy, catalog)}</p></li>'
        for r in (catalog.remedies.get(remedy_id) for remedy_id in remedy_ids)
        if r is not None
    )
    return f'<h4>Candidate changes, cheapest first</h4><ol class="remedies">{items}</ol>' if items else ""


def _wfgy_suffix(term_ids: Iterable[str], catalog: Catalog) -> str:
    terms = [catalog.terms[t] for t in term_ids if t in catalog.terms]
    names = ", ".join(f"{t.name} ({t.plain_name.lower()})" for t in terms)
    return f" \N{MIDDLE DOT} WFGY: {escape(names)}" if names else ""
