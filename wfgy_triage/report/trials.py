"""The changes that a run tried, as HTML: the recommended one first and large, the others in a folded list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.catalog import Catalog
from wfgy_triage.fixmap_records import Remedy
from wfgy_triage.report.format import (
    ARROW,
    MISSING,
    STATE_LOOKS,
    Look,
    chip,
    duration,
    quantity,
    shift,
    spread,
)
from wfgy_triage.report.icons import icon
from wfgy_triage.report.trial_rules import rules_list
from wfgy_triage.result import Result, State

Trial = Mapping[str, Any]
"""One entry of `recommendation.trials`; see `remedies.outcome.Trial.to_json`."""

TRIAL_LOOKS = {
    "verified": Look("Verified", "ok", "shield-check"),
    "better": Look("Better", "warn", "question"),
    "promising": Look("Promising", "warn", "question"),
    "loads": Look("Loads with it", "warn", "question"),
    "unclear": Look("No clear effect", "mute", "dash"),
    "worse": Look("Worse", "bad", "cross"),
    "broke": Look("Breaks another metric", "bad", "warning"),
    "hopeless": Look("Given up early", "mute", "stop"),
    "skipped": Look("Not tried", "mute", "dash"),
    "unfinished": Look("Not finished", "mute", "clock"),
}
GUARD_LOOKS = {
    True: Look("Better", "ok", "check"),
    False: Look("Worse", "bad", "cross"),
    None: Look("No clear change", "mute", "dash"),
}
MIGRATE = (
    "exllamav2 is no longer maintained. Another format (EXL3 or GGUF) made from the same FP16 weights may keep what is "
    "lost here; so does FP16 itself, where it fits. That is advice: it was not measured."
)


def trials_of(result: Result) -> Sequence[Trial]:
    """Every trial of a run, in the order in which they were made; none where nothing was tried."""
    fix = result.recommendation
    return tuple(fix["trials"]) if fix else ()


def tried(trials: Sequence[Trial]) -> list[Trial]:
    """Those that were really made."""
    return [t for t in trials if t["status"] != "skipped"]


def chosen(result: Result) -> Trial | None:
    """The recommended one."""
    candidate = (result.recommendation or {}).get("candidate")
    return next((t for t in trials_of(result) if t["id"] == candidate), None) if candidate else None


def recommended(result: Result, catalog: Catalog) -> str:
    """Return the recommended change: what it is, what it did on the same questions, what it costs."""
    fix, trial = result.recommendation, chosen(result)
    if fix is None or trial is None:
        return ""
    remedy = catalog.remedies.get(trial["remedy"])
    look, word, text = _standing(fix, trial)
    change = f'<p class="rule">{escape(remedy.change)}</p>' if remedy else ""
    return (
        f'<section class="verdict fix tone-{look.tone}" aria-labelledby="fix-word">'
        f'<span class="verdict-icon">{icon(look.icon)}</span><div class="verdict-text">'
        f'<p class="verdict-word" id="fix-word"><b>{word}</b> '
        '<span class="verdict-symptom">Recommended change</span></p>'
        f'<h2 class="headline">{escape(str(fix["label"]))}</h2>{change}{_moved(trial)}'
        f'<p class="fix-told">{escape(text)}</p><dl class="facts">{_facts(fix, trial, catalog)}</dl>'
        f"{rules_list(trial)}{_guards(trial['guards'])}</div></section>"
    )


def none_helped(result: Result, catalog: Catalog) -> str:
    """Return what is known after changes were tried and none can be recommended, and what is left to do."""
    fix, trials = result.recommendation, trials_of(result)
    if fix is None or fix.get("candidate"):
        return ""
    made = tried(trials)
    cause = catalog.causes.get(result.diagnosis.cause)
    word = "Nothing to recommend" if made else "Nothing could be tried"
    found = "".join(f"<li>{_learned(t, catalog)}</li>" for t in made)
    learned = f'<h3>What this tells you</h3><ul class="plain">{found}</ul>' if found else ""
    reasons = "".join(
        f"<li><b>{escape(str(t['label']))}:</b> {escape(str(t['reason']))}</li>"
        for t in trials
        if t not in made
    )
    open_ways = f'<h3>What could not be tried here</h3><ul class="plain">{reasons}</ul>' if reasons else ""
    advice = f"<h3>What is left</h3>{_left(result, catalog)}" if cause else ""
    return (
        f'<section class="verdict fix tone-mute" aria-labelledby="fix-word">'
        f'<span class="verdict-icon">{icon("dash")}</span><div class="verdict-text">'
        f'<p class="verdict-word" id="fix-word"><b>{word}</b></p>'
        f'<h2 class="headline">{escape(str(fix.get("summary") or word))}</h2>'
        f'<div class="fix-notes">{learned}{open_ways}{advice}</div></div></section>'
    )


def _left(result: Result, catalog: Catalog) -> str:
    """What remains to be done when nothing can be recommended, in paragraphs."""
    cause = catalog.causes[result.diagnosis.cause]
    left = _not_reached(result, catalog)
    told = [] if tried(trials_of(result)) else [cause.what_to_do]
    if left:
        told.append(f"{left} A longer time limit in step 2 reaches them.")
    if "migrate" in cause.remedies:
        told.append(MIGRATE)
    return "".join(f"<p>{escape(text)}</p>" for text in told or [cause.what_to_do])


def trials_list(result: Result, catalog: Catalog) -> str:
    """Return every other trial, folded where one is recommended, and what was not reached any more."""
    trials, best = trials_of(result), chosen(result)
    others = [t for t in trials if t is not best]
    rest = _not_reached(result, catalog) if best else ""
    if not others and not rest:
        return ""
    count = len(others)
    noun = "change" if count == 1 else "changes"
    title = f"{count} other {noun}" if best else f"The {count} {noun} one by one"
    items = "".join(_item(t, catalog) for t in others)
    told = f'<p class="dim small">{escape(rest)}</p>' if rest else ""
    if not others:
        return f'<section class="card"><h3>Other changes</h3>{told}</section>'
    return (
        f'<section class="card"><details class="trials"{"" if best else " open"}><summary><h3>{title}</h3></summary>'
        f'<ol class="remedies">{items}</ol></details>{told}</section>'
    )


def _standing(fix: Mapping[str, Any], trial: Trial) -> tuple[Look, str, str]:
    """How the recommendation stands: its look, its word, one sentence."""
    n = trial["questions"]
    asked = f"{n} questions" if n else "what the run had measured"
    if fix["verified"]:
        text = f"Tried on these models: with this change alone the metric passed its gate on {asked}."
        if fix["state_after"] != State.PASS:
            text = (
                f"Tried on these models: with this change alone what had failed passes its gate on {asked}. That the "
                "whole list holds is not shown: see the rules below."
            )
        return TRIAL_LOOKS["verified"], "Verified", text
    reason = f" {trial['reason']}" if trial["reason"] else ""
    if trial["status"] == "loads":
        text = (
            f"With it the model can be loaded, which it cannot as it is; the re-check did not pass.{reason}"
        )
        return TRIAL_LOOKS["loads"], "Loads, not verified", text
    if trial["status"] == "promising":
        return TRIAL_LOOKS["promising"], "Promising, not verified", str(fix["summary"])
    if trial["effect"] is None or trial["effect"]["interval"] is None:
        return TRIAL_LOOKS["better"], "Better, but not enough", str(fix["summary"])
    if fix["state_after"] == State.INCONCLUSIVE:
        text = f"Measurably better on the same questions, but not yet shown to pass.{reason}"
        return TRIAL_LOOKS["better"], "Better, not verified", text
    text = f"Measurably better on the same questions, but the gate is still missed: it helps, it does not cure.{reason}"
    return TRIAL_LOOKS["better"], "Better, but not enough", text


def _moved(trial: Trial) -> str:
    effect = trial["effect"]
    if effect is None:
        return ""
    unit = str(effect["unit"])
    return (
        f'<div class="moved"><p class="moved-name">{escape(str(effect["label"]))}</p>'
        f'<p class="moved-values"><span>{quantity(effect["before"], unit)}</span><span class="arrow">{ARROW}'
        f'<span class="sr"> after the change </span></span><b>{quantity(effect["after"], unit)}</b></p>'
        f'<p class="dim small">{_same_questions(effect)}: {escape(spread(effect))}</p></div>'
    )


def _same_questions(effect: Mapping[str, Any]) -> str:
    return f"on the same {effect['n']} questions" if effect["interval"] else "as the run measured both"


def _facts(fix: Mapping[str, Any], trial: Trial, catalog: Catalog) -> str:
    remedy = catalog.remedies.get(trial["remedy"])
    states = [STATE_LOOKS[State(s)].word if s else MISSING for s in (fix["state_before"], fix["state_after"])]
    setting = "".join(f"<code>{escape(f'{k} = {v}')}</code>" for k, v in trial["patch"].items() if _short(v))
    facts = [
        ("It costs", escape(cost_words(remedy.cost)) if remedy else ""),
        ("Verdict", f"{states[0]} {ARROW} {states[1]}"),
        ("The setting", setting),
        ("WFGY name", escape(term_names(remedy.wfgy, catalog)) if remedy else ""),
        ("Trying took", duration(fix["seconds"]) if fix.get("seconds") else ""),
        ("How it was made", escape(str(trial["note"]))),
        ("FP16 with it", _on_fp16(trial)),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts if value)


def _on_fp16(trial: Trial) -> str:
    """What the change did to FP16, in one line; empty where it was tried on EXL2 alone, as in older sessions."""
    found = trial.get("baseline")
    return f"{shift(found)}, {escape(spread(found))}" if found else ""


def cost_words(cost: str) -> str:
    """What a change costs when it stays, as people say it."""
    return "nothing" if cost == "none" else cost


def costs_line(remedy: Remedy, catalog: Catalog) -> str:
    """Return what a remedy costs, and WFGY's names for it beside the plain ones."""
    names = term_names(remedy.wfgy, catalog)
    wfgy = f" \N{MIDDLE DOT} WFGY: {names}" if names else ""
    return f'<p class="dim small">{escape(f"Costs: {cost_words(remedy.cost)}{wfgy}")}</p>'


def term_names(ids: Sequence[str], catalog: Catalog) -> str:
    """WFGY's names of a remedy, each with the plain one."""
    terms = [catalog.terms[t] for t in ids if t in catalog.terms]
    return ", ".join(f"{t.name} ({t.plain_name.lower()})" for t in terms)


def _short(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 40


def _guards(guards: Sequence[Mapping[str, Any]]) -> str:
    if not guards:
        return ""
    items = "".join(
        f"<li>{chip(GUARD_LOOKS[g['better']])}<div><b>{escape(str(g['label']))}</b>"
        f"<span>{shift(g)}, {escape(spread(g))}</span></div></li>"
        for g in guards
    )
    return f'<h3>Also checked, so that nothing else breaks</h3><ol class="checks">{items}</ol>'


def _item(trial: Trial, catalog: Catalog) -> str:
    remedy = catalog.remedies.get(trial["remedy"])
    effect = trial["effect"]
    name = remedy.title if remedy and remedy.title != trial["label"] else ""
    tag = f' <span class="tag">{escape(name)}</span>' if name else ""
    broken = [str(g["label"]) for g in trial["guards"] if g["better"] is False]
    lines = [
        str(trial["reason"]),
        f"Worse with it: {', '.join(broken)}." if broken else "",
        str(trial["note"]),
    ]
    moved = ""
    if effect is not None:
        moved = (
            f'<p class="shift"><b>{shift(effect)}</b> <span class="dim">{escape(spread(effect))}</span></p>'
        )
    text = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    if both := _on_fp16(trial):
        text = f'<p class="dim small"><b>FP16 with it</b> <span>{both}</span></p>{text}'
    costs = costs_line(remedy, catalog) if remedy else ""
    look = TRIAL_LOOKS.get(trial["status"], Look(str(trial["words"]), "mute", "dash"))
    head = f"<h4>{chip(look)} {escape(str(trial['label']))}{tag}</h4>"
    return f"<li>{head}{moved}{text}{rules_list(trial)}{costs}</li>"


def _learned(trial: Trial, catalog: Catalog) -> str:
    """One sentence on what a trial that does not count as help tells."""
    label, remedy = escape(str(trial["label"])), catalog.remedies.get(trial["remedy"])
    if trial["status"] in ("hopeless", "worse"):
        ruled = remedy.rules_out if remedy else ""
        return f"<b>{label}:</b> {escape(ruled or str(trial['words']) + '.')}"
    if trial["status"] == "broke":
        broken = ", ".join(str(g["label"]) for g in trial["guards"] if g["better"] is False)
        return f"<b>{label}:</b> it raises the metric only by making something else worse ({escape(broken)})."
    if trial["status"] == "unfinished":
        return f"<b>{label}:</b> not finished, so nothing is known."
    return f"<b>{label}:</b> no clear effect on {trial['questions']} questions; a small one is not ruled out."


def _not_reached(result: Result, catalog: Catalog) -> str:
    """Which candidates of the cause were not looked at any more, and why."""
    listed = catalog.remedies_for(result.diagnosis.cause, result.symptom)
    seen = {t["remedy"] for t in trials_of(result)}
    left = [catalog.remedies[r].title for r in listed if r not in seen and r != "migrate"]
    if not left or not seen:
        return ""
    verified = bool((result.recommendation or {}).get("verified"))
    why = "an earlier, cheaper change had passed" if verified else "the search ended before"
    return f"Not looked at, because {why}: {', '.join(left)}."
