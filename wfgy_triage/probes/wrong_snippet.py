"""Probe "Wrong snippet despite high similarity": the same passages are searched in four ways.

`independent`: index and queries from a sentence model that quantization does not touch (control, equal on both sides).
`fp16`: index and queries from FP16's hidden states. `mixed`: FP16's index asked with EXL2's queries, the mismatch that
the symptom claims. `rebuilt`: index and queries from EXL2. The noise floor asks FP16's index with its twin's queries.

Samples carry the side `fp16` for the reference, `exl2` for the deployed arm (option `mode`), `fp16_floor` for the
twin, and the arm's own name for the others; one more, `index`, holds what is known of the index. Where EXL2's own
vectors are to blame, FP16 weights are put back part by part (`retrieval_parts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.sentence_files import MODEL_NAME, PACKAGE
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.embedding_cache import EmbeddingCache
from wfgy_triage.probes.retrieval_arms import Arms, build_arms
from wfgy_triage.probes.retrieval_evaluation import brings_back, damage_of, evaluate_samples, lost
from wfgy_triage.probes.retrieval_parts import parts_to_measure, put_parts_back, search_with
from wfgy_triage.probes.retrieval_plan import DEPLOYED, SYMPTOM, Plan, make_plan
from wfgy_triage.probes.retrieval_samples import FACTS, query_payload
from wfgy_triage.probes.retrieval_vectors import Encoder, Stopped
from wfgy_triage.probes.subject import Shown, Subject
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample, SampleKey

STAGES: Mapping[str, str] = {
    "fp16": "Searching with FP16",
    "exl2": "Searching as deployed with EXL2",
    "mixed": "FP16 index, EXL2 queries",
    "rebuilt": "Index rebuilt with EXL2",
    "independent": "Index of an independent embedder",
    "given": "The given index as it is",
    "given_fp16": "The given index, FP16 queries",
    "given_normalised": "The given index, normalised",
    "fp16_floor": "FP16 again, for the noise floor",
}
SHOWN_K = (10, 20)
"""Numbers of passages that a larger k stands for."""


class WrongSnippet:
    """The probe; holds no state between calls.

    Args:
        load_encoder: loads the independent sentence model.
    """

    symptom = SYMPTOM

    def __init__(self, load_encoder: Callable[[], Encoder] = lambda: load_sentence_encoder()) -> None:
        self._load_encoder = load_encoder

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of passages and questions, and how many questions are judged."""
        return make_plan(settings).info

    def run(self, context: ProbeContext) -> None:
        """Embed, search every arm, store; skips what is stored, stops when asked."""
        # Vectors are kept by text, whoever asks for them first, and searching takes no time worth saving.
        if context.ahead:
            return
        plan = make_plan(context.settings)
        sides = _sides(plan)
        todo = {side: _missing(context, plan, side) for side in sides}
        searched = not any(todo.values()) and _key(context, FACTS, FACTS) in context.done
        if searched and not parts_to_measure(context, plan, lost(context.stored(), context.settings)):
            return
        try:
            arms = self._arms(context, plan)
        except Stopped:
            return
        if _key(context, FACTS, FACTS) not in context.done:
            context.save([Sample(_key(context, FACTS, FACTS), arms.facts)])
        for side, arm in ((s, a) for s, a in sides.items() if a in arms.by_name):
            if context.should_stop():
                return
            _store(context, plan, arms, side, arm, todo[side])
        if not context.should_stop():
            put_parts_back(context, plan, arms, lost(context.stored(), context.settings))

    def subject(self, context: ProbeContext) -> Subject:
        """The arms that the run has searched anyway: each shows what a change of the index does."""
        plan, samples = make_plan(context.settings), context.stored()
        stored = {s.key.side for s in samples}
        # With one embedder on both sides nothing can be lost, however little it finds: it has to bring passages back.
        back = brings_back(samples, context.settings, "independent")
        found = _shown(plan, control="independent" if back else "fp16")
        shown = {n: s for n, s in found.items() if s.side in stored}

        # Whoever tries a change says how far it is.
        quiet = replace(context, progress=lambda *_: None)

        def again(engine: Engine, side: str) -> int:
            todo = _missing(context, plan, side)
            if todo and not context.should_stop():
                try:
                    arms = search_with(engine, quiet, plan, self._arms(quiet, plan), side)
                except Stopped:
                    return 0
                _store(quiet, plan, arms, side, side, todo)
            return len(plan.judged)

        return Subject(
            SYMPTOM, shown=shown, again=again, damage=lambda samples: damage_of(samples, context.settings)
        )

    def _arms(self, context: ProbeContext, plan: Plan) -> Arms:
        """Every arm of the run; vectors that are kept from before are not computed again."""
        folder = context.cache / "embeddings" if context.cache and context.models else None
        identity = f"{MODEL_NAME} {PACKAGE} {metadata.version(PACKAGE)}"
        return build_arms(context, plan, EmbeddingCache(folder), self._load_encoder, identity)

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `retrieval_evaluation.evaluate_samples`."""
        return evaluate_samples(samples, checks, settings)


PROBE = WrongSnippet()


def _shown(plan: Plan, control: str) -> dict[str, Shown]:
    """By remedy, the arm that stands for it, other than the deployed one.

    Args:
        plan: what was searched.
        control: the side that the independent embedder is held against: itself, as both then use it, or `fp16`.
    """
    deeper = next((k for k in SHOWN_K if k > plan.k), None)
    found = {
        "normalise_index": Shown(
            "given_normalised", {"retrieval.index": "normalise"}, "The given vectors, normalised"
        ),
        "rebuild_index": Shown(
            "rebuilt", {"retrieval.index": "rebuild"}, "Index rebuilt with the serving model"
        ),
        "independent_embedder": Shown(
            "independent",
            {"retrieval.index": "independent"},
            "Index and queries from an independent embedder",
            reference=control,
        ),
    }
    if deeper is not None:
        found["raise_k"] = Shown(
            "exl2", {"retrieval.k": deeper}, f"{deeper} passages, not {plan.k}", {"k": deeper}
        )
    return {name: shown for name, shown in found.items() if shown.side != DEPLOYED[plan.mode][1]}


def _sides(plan: Plan) -> dict[str, str]:
    """Side to arm: the two that are judged first, then the others, the floor last."""
    reference, deployed = DEPLOYED[plan.mode]
    others = ["fp16", "mixed", "rebuilt", "independent"]
    if plan.given is not None:
        others += ["given", "given_fp16", "given_normalised"]
    used = {"fp16": reference, "exl2": deployed}
    # In the mode `independent` FP16's own hidden-state index is one more arm, under a name of its own.
    rest = {
        ("hidden_fp16" if arm == "fp16" else arm): arm for arm in others if arm not in (reference, deployed)
    }
    return {**used, **rest, "fp16_floor": "independent" if reference == "independent" else "fp16_floor"}


def _missing(context: ProbeContext, plan: Plan, side: str) -> list[int]:
    return [n for n, q in enumerate(plan.judged) if _key(context, q.id, side) not in context.done]


def _store(context: ProbeContext, plan: Plan, arms: Arms, side: str, arm: str, places: Sequence[int]) -> None:
    label = STAGES.get(side, "FP16's own hidden states")
    reference = arms.by_name.get(DEPLOYED[plan.mode][0])
    total = len(plan.judged)
    samples = [
        Sample(
            _key(context, plan.judged[n].id, side),
            query_payload(
                plan, arms, arm, n, None if side == "fp16" or reference is None else reference.scores[n]
            ),
        )
        for n in places
    ]
    if samples:
        context.save(samples)
    context.progress(side, label, total, total)


def _key(context: ProbeContext, question: str, side: str) -> SampleKey:
    return SampleKey(SYMPTOM, question, 0, context.settings.seed, side)
