"""Step 5 as HTML: what to change, or why nothing was tried; candidates of the cause; the fix modules of the map."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from wfgy_triage.catalog import Catalog
from wfgy_triage.report.icons import icon
from wfgy_triage.report.trials import costs_line, none_helped, recommended, trials_list
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


def fix_head(result: Result, catalog: Catalog) -> str:
    """Return the first thing of step 5: the recommended change, that none helped, or why nothing was tried."""
    found = recommended(result, catalog) or none_helped(result, catalog)
    return found or _not_tried(result, catalog)


def fix_rest(result: Result, catalog: Catalog) -> str:
    """Return what follows the recommendation: the other trials, or candidates of the cause, and the fix pages."""
    symptom = catalog.symptoms.get(result.symptom)
    linked = [m.id for m in result.modules] or list(symptom.modules if symptom else ())
    names = wfgy_names(symptom.wfgy if symptom else (), catalog)
    terms = (
        f'<details class="why"><summary>WFGY names in plain words</summary>{names}</details>' if names else ""
    )
    left = trials_list(result, catalog) or _candidates(result, catalog)
    pages = (
        '<section class="card"><p class="eyebrow">Fix pages of the WFGY map</p>'
        f"{module_cards(linked, catalog)}{terms}</section>"
    )
    return f'<div class="columns">{left}{pages}</div>' if left else pages


def why_not_tried(result: Result, catalog: Catalog) -> str:
    """Say in a sentence or two why no change was tried; empty where some were."""
    if result.recommendation is not None:
        return ""
    if result.state is State.PASS:
        return (
            "This symptom was not confirmed, so there is nothing to fix. Changes are tried after a FAIL only."
        )
    cause = catalog.causes.get(result.diagnosis.cause)
    searched = cause is not None and result.symptom in cause.both_sides
    if result.state is State.INCONCLUSIVE and not searched:
        return (
            "Changes are tried after a FAIL only, and these questions could not decide. Ask more of them first; then "
            "it is known whether there is anything to fix."
        )
    if result.state is State.NOT_MEASURED:
        return "Nothing was decided, so no change could be judged by it. See what was missing, then measure again."
    if str(result.settings.get("fix", "yes")) == "no":
        return "You asked for the measurement alone. Switch “Try changes after a FAIL” on to have them tried."
    failed = [catalog.metrics.get(m.id) for m in result.metrics if m.primary and m.state is State.FAIL]
    reasons = [m.untried for m in failed if m is not None]
    if reasons and all(reasons):
        return " ".join(reasons)
    return "The run ended before a change was tried, or the fix map knows none for this cause that can be tried here."


def _not_tried(result: Result, catalog: Catalog) -> str:
    """The panel of a run that tried nothing: why, and what the cause asks for."""
    passed = result.state is State.PASS
    look = "ok" if passed else "mute"
    cause = catalog.causes.get(result.diagnosis.cause)
    word = "Nothing to fix" if passed else "No change was tried"
    title = "" if passed else escape(cause.title if cause else result.diagnosis.cause)
    headline = f'<h2 class="headline">{title}</h2>' if title else ""
    advice = f'<p class="rule">{escape(cause.what_to_do)}</p>' if cause and not passed else ""
    return (
        f'<section class="verdict fix tone-{look}" aria-labelledby="fix-word">'
        f'<span class="verdict-icon">{icon("check" if passed else "dash")}</span><div class="verdict-text">'
        f'<p class="verdict-word" id="fix-word"><b>{word}</b></p>{headline}{advice}'
        f'<p class="fix-told">{escape(why_not_tried(result, catalog))}</p></div></section>'
    )


def _candidates(result: Result, catalog: Catalog) -> str:
    """The changes that the fix map names for the cause, none of them tried."""
    listed = catalog.remedies_for(result.diagnosis.cause, result.symptom)
    items = "".join(
        f'<li><h4>{escape(r.title)} <span class="tag">not tried on your models</span></h4>'
        f"<p>{escape(r.change)}</p>{costs_line(r, catalog)}</li>"
        for r in map(catalog.remedies.__getitem__, listed)
    )
    if not items or result.state is State.PASS:
        return ""
    return (
        '<section class="card"><p class="eyebrow">From the fix map, cheapest first</p>'
        f'<h3>Candidate changes</h3><ol class="remedies">{items}</ol></section>'
    )
