"""Steps 1 and 2 as HTML: symptom cards, what a symptom means, pair cards, and the plan of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from wfgy_triage.errors import TriageError
from wfgy_triage.exl2.inspect import CheckpointReport
from wfgy_triage.fixmap_records import Symptom
from wfgy_triage.pairs import Pair
from wfgy_triage.report.fix import module_cards
from wfgy_triage.report.format import size
from wfgy_triage.report.icons import icon
from wfgy_triage.ui.context import PageContext, inspect_cached
from wfgy_triage.ui.trial_choice import USUAL, trial_plan

WELCOME = (
    '<div class="card aside"><h3>How this works</h3>'
    "<p>Your EXL2 model is a smaller copy of an FP16 model, and this page asks both the same questions to find out "
    "whether the copy really got worse. You get one verdict with its numbers, the likely cause, and, "
    "where one helps, a change that was tried on these very models.</p>"
    '<ul class="plain"><li>Pick what you see. No knowledge of quantization is needed.</li>'
    "<li>Nothing is sent anywhere: both models run where this page runs.</li>"
    "<li>You can stop at any time and keep what was measured.</li></ul></div>"
)
COMPARISON_STEPS = (
    "FP16 answers {questions} questions.",
    "EXL2 answers the same questions, word for word the same prompts.",
    "FP16 answers once more in another way: the noise floor, the difference that means nothing.",
    "Both models score the same answers token by token, which shows damage before it is visible.",
)
"""What a run does for a symptom that has no plan of its own in the fix map."""
_NO_CLAIM = {
    "gate": '<p class="eyebrow">Acceptance gate</p><h3>Ship or do not ship</h3>',
    "guide": '<p class="eyebrow">Guided flow</p><h3>Four steps, one button</h3>'
    '<p class="dim small">The source page\'s short way. Every step is measured, and a module counts only where trying '
    "it helped.</p>",
}
"""What stands in the place of a likely cause for what is not a symptom."""
SMOKE_TEST = 40
"""Below this many questions only large damage can be told from noise."""


def symptom_cards(symptoms: Iterable[Symptom], probed: frozenset[str]) -> str:
    """Return the cards of step 1 as radios in a fieldset."""
    return (
        '<fieldset class="cards"><legend class="sr">What looks wrong?</legend>'
        + "".join(_symptom_card(s, s.id in probed) for s in symptoms)
        + "</fieldset>"
    )


def symptom_detail(context: PageContext, symptom_id: str) -> str:
    """Return what is known about a symptom before anything is measured; the welcome text when none is chosen."""
    symptom = context.catalog.symptoms.get(symptom_id)
    if symptom is None:
        return WELCOME
    claim = (
        f'<p class="eyebrow">What usually causes it</p><h3>{escape(symptom.likely_cause)}</h3>'
        '<p class="dim small">So says the WFGY fix map, a public guide. It is not a finding yet: a measurement '
        "tests it.</p>"
        if symptom.likely_cause
        else _NO_CLAIM[symptom.kind]
    )
    missing = (
        ""
        if symptom_id in context.probed
        else f'<p class="callout tone-warn">{icon("warning")}<span><b>The live probe for this symptom is not available '
        "yet.</b> It cannot be measured here today; the fix pages below are what there is.</span></p>"
    )
    return (
        f'<div class="card aside">{claim}{missing}<h4>Fix pages</h4>'
        f"{module_cards(symptom.modules, context.catalog)}</div>"
    )


def pair_cards(pairs: Mapping[str, Pair], warm: frozenset[str] = frozenset()) -> str:
    """Return the registered pairs as radios; those still being prepared are shown but cannot be chosen.

    Args:
        pairs: by id.
        warm: ids of the pairs whose models are loaded, so that a run starts at once.
    """
    if not pairs:
        return (
            f'<p class="callout tone-mute">{icon("clock")}<span><b>No model pair is registered yet.</b> '
            "The demo pair appears here by itself once it is prepared. To use your own models, add them to the pairs "
            "file.</span></p>"
        )
    return (
        '<fieldset class="cards pairs"><legend>Which models?</legend>'
        + "".join(_pair_card(p, p.id in warm) for p in pairs.values())
        + "</fieldset>"
    )


def plan_card(
    context: PageContext, symptom_id: str, pair: Pair | None, questions: int, trials: str = USUAL
) -> str:
    """Say what the run will do and about how long it takes, before it starts.

    Args:
        context: what the pages know.
        symptom_id: the chosen symptom.
        pair: the chosen pair.
        questions: how many are asked.
        trials: whether and how long changes are tried, as `trial_choice` has it.
    """
    if pair is None:
        return '<div class="card aside"><h3>What will happen</h3><p class="empty">Choose a model pair first.</p></div>'
    symptom = context.catalog.symptoms.get(symptom_id)
    steps = symptom.plan if symptom is not None and symptom.plan else COMPARISON_STEPS
    size_line = ""
    if symptom is None or (symptom.kind != "guide" and symptom.asks_questions):
        size_line = f"<div><dt>{questions} questions</dt><dd>{_power(questions)}</dd></div>"
    lines = [*(s.format(questions=questions) for s in steps), trial_plan(trials)]
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<div class="card aside"><p class="eyebrow">{escape(context.symptom_title(symptom_id))}</p>'
        f'<h3>What will happen</h3><ol class="plain">{listed}</ol>'
        f'<dl class="plan"><div><dt>Time</dt><dd>{_time(context, symptom_id, pair, questions)}</dd></div>'
        f"{size_line}</dl></div>"
    )


def _time(context: PageContext, symptom_id: str, pair: Pair, questions: int) -> str:
    if estimate := context.estimate(symptom_id, [pair.id], questions):
        return f"About {estimate}, judging by earlier runs of this pair here."
    # A server may be far faster or slower than the same model here.
    here = [other for other in context.pairs().values() if not (pair.served or other.served)]
    alike = [other.id for other in here if other.fp16 == pair.fp16]
    if estimate := context.estimate(symptom_id, alike, questions):
        return f"About {estimate}, judging by earlier runs here of pairs with the same FP16 model."
    return "First run of this pair: not known yet. Progress is shown as it goes."


def _power(questions: int) -> str:
    if questions < SMOKE_TEST:
        return "A smoke test: it shows large damage. A small loss will come out as inconclusive."
    return "Enough to see medium differences; small ones need more."


def _symptom_card(symptom: Symptom, available: bool) -> str:
    tag = "" if available else '<span class="tag">no live probe yet</span>'
    return (
        f'<label class="pick {symptom.kind}"><input type="radio" name="symptom" value="{escape(symptom.id)}">'
        f'<span class="pick-icon">{icon(symptom.icon)}</span><span class="pick-text">'
        f"<b>{escape(symptom.title)}</b><span>{escape(symptom.summary)}</span>"
        f"<small>{escape(symptom.label)} {tag}</small></span>"
        f'<span class="pick-tick">{icon("check")}</span></label>'
    )


def _pair_card(pair: Pair, warm: bool) -> str:
    state = "" if pair.ready else " disabled"
    about = (
        _pair_facts(pair)
        if pair.ready
        else "<span>Its files are not complete yet. It can be chosen as soon as they are.</span>"
    )
    tag = '<span class="tag">loaded, starts at once</span>' if warm else ""
    if not pair.ready:
        tag = f'<span class="tag">{icon("clock")}preparing</span>'
    note = f"<small>{escape(pair.note)}</small>" if pair.note else ""
    return (
        f'<label class="pick{state}"><input type="radio" name="pair" value="{escape(pair.id)}"{state}>'
        f'<span class="pick-text"><b><span translate="no">{escape(pair.name)}</span> {tag}</b>{about}{note}</span>'
        f'<span class="pick-tick">{icon("check")}</span></label>'
    )


ASKED = "asked on a server, where it runs"
"""What is said of a side that is not loaded here."""


def _pair_facts(pair: Pair) -> str:
    sides = (
        ("FP16", ASKED if "fp16" in pair.served else _fp16_facts(inspect_cached(pair.fp16))),
        (
            "EXL2",
            ASKED if "exl2" in pair.served else _exl2_facts(inspect_cached(pair.exl2), _cache_bits(pair)),
        ),
    )
    return '<span class="sides">' + "".join(f"<span><b>{s}</b> {f}</span>" for s, f in sides) + "</span>"


def _fp16_facts(report: CheckpointReport | TriageError) -> str:
    if isinstance(report, TriageError):
        return escape(str(report))
    return escape(f"{report.architecture}, {size(report.total_bytes)}")


def _cache_bits(pair: Pair) -> int | None:
    """Bits of a quantized KV cache; a setting that is none is refused when the pair is loaded."""
    return {"Q8": 8, "Q6": 6, "Q4": 4}.get(str(pair.engine.get("cache")))


def _exl2_facts(report: CheckpointReport | TriageError, cache_bits: int | None = None) -> str:
    if isinstance(report, TriageError):
        return escape(str(report))
    parts = [] if report.kind == "exl2" else [report.kind.upper()]
    if report.decoder_bpw:
        parts.append(f"{report.decoder_bpw:.2f} bits per weight")
    if report.head_bits:
        parts.append(f"{report.head_bits}-bit head")
    if cache_bits is not None:
        parts.append(f"{cache_bits}-bit KV cache")
    return escape(", ".join([*parts, size(report.total_bytes)]))
