"""One pass over the questions of a run: answers of each side, then token-by-token comparison of the FP16 answers.

Everything is stored as it finishes and nothing that is stored is done again, so a pass may end at any point and a
later one goes on. What FP16 measured in an earlier run is taken from there (`reuse.py`). What an answer is worth is
the probe's business: it passes a function that judges one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, ScoreRequest, TokenScores
from wfgy_triage.engines.scoring import score_each, score_text
from wfgy_triage.measure.fluency import mean_logprob
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.items import Item, drafts_for, fits, refuse_too_long
from wfgy_triage.probes.payloads import Annotate, answer_payload, comparison_payload
from wfgy_triage.probes.reuse import REUSED, Reuse, settled_answer, settled_scores
from wfgy_triage.probes.served import AGAIN
from wfgy_triage.store.records import Sample, SampleKey

ROUND = 40
"""Questions per round: FP16 answers, then EXL2 answers, so that the page shows both sides early; see `in_rounds`."""
STAGES: Mapping[str, str] = {
    "fp16": "FP16 answers",
    "exl2": "EXL2 answers",
    "fp16_floor": "FP16 again, for the noise floor",
    "pair": "Word-by-word comparison",
    "pair_floor": "Noise of that comparison",
}
"""Side to what the page calls the stage that fills it."""
SHORT_CONTEXT = "same_context"
"""The doctor's check that EXL2 accepts as long prompts as FP16."""
ALWAYS = frozenset({"fp16", "exl2"})
"""Sides on which every item is answered; the others are for items that are compared."""
_Round = TypeVar("_Round")
Judge = Callable[["Item", Completion], Mapping[str, Any]]
"""What a probe stores of an answer besides the answer itself: plain JSON."""


class Measuring:
    """A pass over the items of a run.

    Args:
        context: engines, store and settings of the run.
        symptom: id of the probe, part of every sample's key.
        items: what is asked; `request_id`s must differ.
        stages: names of the stages, where a probe has its own.
    """

    def __init__(
        self,
        context: ProbeContext,
        symptom: str,
        items: Sequence[Item],
        stages: Mapping[str, str] = STAGES,
    ) -> None:
        self._context, self._symptom = context, symptom
        self._stages = {AGAIN: "EXL2 asked again, for its own noise", **stages}
        self._items = {item.request_id: item for item in items}
        self._done = set(context.done)
        self._reuse = context.reuse
        self._looked_up: set[SampleKey] = set()

    def key(self, item: Item, side: str) -> SampleKey:
        """The key under which a side of an item is stored."""
        return SampleKey(self._symptom, item.question, item.paraphrase, item.seed, side)

    def missing(self, *sides: str) -> bool:
        """Whether any item lacks a sample on one of these sides."""
        return any(self.key(i, side) not in self._done for side in sides for i in self._expected(side))

    def items(self, questions: Iterable[str]) -> list[Item]:
        """The items of these questions, in the order of the run."""
        wanted = set(questions)
        return [i for i in self._items.values() if i.question in wanted]

    @property
    def compared(self) -> list[Item]:
        """The items whose answers are compared token by token."""
        return [i for i in self._items.values() if i.compared]

    def has(self, item: Item, side: str) -> bool:
        """Whether a side of an item is stored."""
        return self.key(item, side) in self._done

    def run(self, judge: Judge, annotate: Annotate | None = None) -> None:
        """Everything a paired probe measures: both sides, the comparison, and the same with the FP16 twin.

        Raises:
            InputError: see `refuse_too_long`.
        """
        items = list(self._items.values())
        self.refuse_too_long()
        # All at once, so that the run says once how many answers it takes from earlier ones.
        self._recall_answers("fp16", self._context.fp16, judge)
        blocks = [items[start : start + ROUND] for start in range(0, len(items), ROUND)]
        for (side, engine), block in in_rounds(self._context, blocks):
            self.answer(side, engine, judge, block)
        self.repeat(judge)
        scored = ("pair", "pair_floor") if self._scored else ()
        if self._context.should_stop() or not self.missing("fp16_floor", *scored):
            return
        candidates = {"pair": self._context.exl2}
        if self.missing("fp16_floor", *scored[1:]):
            candidates["pair_floor"] = self._context.open_floor()
            self.answer("fp16_floor", candidates["pair_floor"], judge)
        # Both at once: FP16 reads its answers one time for the two.
        self.compare_many(candidates, annotate=annotate)

    def refuse_too_long(self) -> None:
        """Refuse questions that a side cannot take, before anything is measured.

        Where the doctor has found that EXL2's context is shorter than FP16's, that is what the run is to say: EXL2 is
        then asked what fits.

        Raises:
            InputError: a question does not fit into the context of FP16, or of EXL2 and nobody knows why.
        """
        items, findings = list(self._items.values()), self._context.findings
        refuse_too_long(items, self._context.fp16)
        if not any(f.check == SHORT_CONTEXT and f.state is Outcome.FAIL for f in findings):
            refuse_too_long(items, self._context.exl2, exl2=True)

    def repeat(self, judge: Judge) -> None:
        """Ask an EXL2 side a second time that may answer otherwise then: what it changes against itself is its noise.

        That is a model on a server, or one whose sums come out in another order from run to run (exllamav2 on a GPU).
        """
        exl2 = self._context.exl2
        if exl2.capabilities.served or not exl2.info.deterministic:
            self.answer(AGAIN, exl2, judge)

    @property
    def _scored(self) -> bool:
        """Whether both sides can say how likely a given text is."""
        return self._context.fp16.capabilities.score and self._context.exl2.capabilities.score

    def answer(self, side: str, engine: Engine, judge: Judge, items: Iterable[Item] | None = None) -> None:
        """Generate and store the answers of one side that are not stored yet (of all items unless given).

        What does not fit into the engine's context is not asked.
        """
        among = None if items is None else list(items)
        self._recall_answers(side, engine, judge, among)
        todo = {i.request_id: i for i in self._todo(side, among) if fits(i, engine)}
        if not todo or self._context.should_stop() or not engine.capabilities.generate:
            return
        self._report(side)
        fresh: list[tuple[GenerationRequest, Completion]] = []
        try:
            requests = self._with_drafts(side, todo.values())
            for completion in engine.generate(requests, self._context.should_stop):
                if completion.finish_reason != "cancelled":
                    item, settled = todo[completion.id], settled_answer(completion)
                    payload = answer_payload(settled, engine.capabilities.served) | item.told(side)
                    self._store(side, {item: {**payload, **judge(item, settled)}})
                    fresh.append((item.asked(side), settled))
        finally:
            if self._reuse is not None and side in REUSED:
                self._reuse.keep_answers(side, engine.info, fresh)

    def _with_drafts(self, side: str, items: Iterable[Item]) -> list[GenerationRequest]:
        """The requests of items, with what was answered to their questions before: the next answer is often like it."""
        known: dict[str, list[Sample]] = {}
        for sample in self._context.stored():
            if sample.payload.get("token_ids"):
                known.setdefault(sample.key.question, []).append(sample)
        return [
            replace(item.asked(side), drafts=drafts_for(item, known.get(item.question, ()))) for item in items
        ]

    def compare_many(
        self,
        candidates: Mapping[str, Engine],
        items: Iterable[Item] | None = None,
        annotate: Annotate | None = None,
    ) -> None:
        """Score the stored FP16 answers on the baseline and on candidates, token by token, and store that.

        Candidates by the side they are stored under; the baseline reads each answer once for all of them.

        Nothing where a side cannot say how likely a given text is.
        """
        candidates = {s: c for s, c in candidates.items() if self._measured(s) and c.capabilities.score}
        if not candidates or not self._scored:
            return
        stored = self._answers("fp16")
        among = [i for i in (self._items.values() if items is None else items) if i.compared]
        answers = {i: ids for i in among if (ids := stored.get(self.key(i, "fp16")))}
        for side, candidate in candidates.items():
            self._recall_comparisons(side, candidate, answers, annotate)
        waiting: dict[tuple[str, ...], dict[str, list[Item]]] = {}
        for item in answers:
            sides = tuple(s for s, c in candidates.items() if not self.has(item, s) and fits(item, c))
            if sides:
                waiting.setdefault(sides, {}).setdefault(item.group, []).append(item)
        for sides, by_group in sorted(waiting.items()):
            if self._context.should_stop():
                return
            self._report(sides[0])
            groups = [{i: answers[i] for i in block} for _, block in sorted(by_group.items())]
            self._score({s: candidates[s] for s in sides}, groups, annotate)

    def _score(
        self,
        candidates: Mapping[str, Engine],
        groups: Sequence[Mapping[Item, tuple[int, ...]]],
        annotate: Annotate | None,
    ) -> None:
        answers = {i: ids for group in groups for i, ids in group.items()}
        baseline, items = self._context.fp16, {i.request_id: i for i in answers}
        fresh: dict[str, list[tuple[ScoreRequest, TokenScores]]] = {side: [] for side in candidates}
        requests = {i.request_id: i.scoring(answer) for i, answer in answers.items()}
        try:
            sides, stop = list(candidates), self._context.should_stop
            asked = [[requests[i.request_id] for i in group] for group in groups]
            found = score_each(baseline, list(candidates.values()), asked, should_stop=stop)
            for number, measured in found:
                side, item, scores = sides[number], items[measured.id], settled_scores(measured)
                self._store(side, {item: comparison_payload(item, answers[item], scores, annotate)})
                fresh[side].append((requests[scores.id], scores))
                # In lockstep a sequence is left when it has been compared with all.
                if (number + 1 == len(sides) or baseline.capabilities.in_turn) and stop():
                    return
        finally:
            for side, candidate in candidates.items():
                if self._reuse is not None and side in REUSED:
                    self._reuse.keep_comparisons(baseline.info, candidate.info, fresh[side])

    def _recall_answers(
        self, side: str, engine: Engine, judge: Judge, items: Iterable[Item] | None = None
    ) -> None:
        def find(reuse: Reuse, todo: Mapping[str, Item]) -> dict[Item, Mapping[str, Any]]:
            found = reuse.answers(side, engine.info, [i.asked(side) for i in todo.values()])
            return {
                todo[n]: {**answer_payload(c), **todo[n].told(side), **judge(todo[n], c)}
                for n, c in found.items()
            }

        self._recall(side, self._todo(side, items), find)

    def _recall_comparisons(
        self, side: str, candidate: Engine, answers: Mapping[Item, tuple[int, ...]], annotate: Annotate | None
    ) -> None:
        def find(reuse: Reuse, todo: Mapping[str, Item]) -> dict[Item, Mapping[str, Any]]:
            requests = [i.scoring(answers[i]) for i in todo.values()]
            found = reuse.comparisons(self._context.fp16.info, candidate.info, requests)
            return {
                todo[n]: comparison_payload(todo[n], answers[todo[n]], s, annotate) for n, s in found.items()
            }

        self._recall(side, self._todo(side, answers), find)

    def _recall(
        self,
        side: str,
        items: Iterable[Item],
        find: Callable[[Reuse, Mapping[str, Item]], Mapping[Item, Mapping[str, Any]]],
    ) -> None:
        """Store what earlier runs measured of these items, judged anew; nothing is looked for twice in a pass."""
        todo = {i.request_id: i for i in items if self.key(i, side) not in self._looked_up}
        if self._reuse is None or side not in REUSED or not todo or self._context.should_stop():
            return
        self._looked_up.update(self.key(i, side) for i in todo.values())
        if payloads := find(self._reuse, todo):
            self._store(side, payloads)
            self._reuse.tell(side, len(payloads), len(self._expected(side)))

    def score(self, side: str, answered: str, engine: Engine) -> None:
        """Store how likely one engine finds the answers that another side gave (of items that are compared).

        Args:
            side: under which it is stored: `{"mean_logprob"}`, nats a token.
            answered: the side whose answers are read.
            engine: who reads them.
        """
        answers = self._answers(answered) if engine.capabilities.score else {}
        todo = {i.request_id: i for i in self._todo(side) if answers.get(self.key(i, answered))}
        if not todo or self._context.should_stop():
            return
        self._report(side)
        requests = [i.scoring(answers[self.key(i, answered)]) for i in todo.values()]
        for name, logprobs in score_text(engine, requests, should_stop=self._context.should_stop):
            self._store(side, {todo[name]: {"mean_logprob": mean_logprob(logprobs)}})

    def _measured(self, side: str) -> bool:
        """Whether this pass measures a side at all."""
        return side in REUSED or not self._context.ahead

    def _expected(self, side: str) -> list[Item]:
        """The items that get a sample on this side."""
        if not self._measured(side):
            return []
        return [i for i in self._items.values() if i.compared or side in ALWAYS]

    def _todo(self, side: str, items: Iterable[Item] | None = None) -> list[Item]:
        among = self._expected(side) if items is None or not self._measured(side) else items
        return [i for i in among if self.key(i, side) not in self._done]

    def _answers(self, side: str) -> dict[SampleKey, tuple[int, ...]]:
        stored = self._context.stored()
        return {s.key: tuple(s.payload["token_ids"]) for s in stored if s.key.side == side}

    def _store(self, side: str, payloads: Mapping[Item, Mapping[str, Any]]) -> None:
        samples = [Sample(self.key(item, side), payload) for item, payload in payloads.items()]
        self._context.save(samples)
        self._done.update(s.key for s in samples)
        self._report(side)

    def _report(self, side: str) -> None:
        # Sides of the localization are many and stand for one stage, which reports for itself.
        if side in self._stages:
            expected = self._expected(side)
            done = sum(self.key(i, side) in self._done for i in expected)
            self._context.progress(side, self._stages[side], done, len(expected))


def in_rounds(context: ProbeContext, rounds: Sequence[_Round]) -> list[tuple[tuple[str, Engine], _Round]]:
    """In which order both sides are asked several rounds of questions: each `((side, engine), round)`.

    FP16 and then EXL2, round by round; all rounds of FP16 first where going to the other side means loading it.
    """
    sides = [("fp16", context.fp16), ("exl2", context.exl2)]
    if context.exl2.capabilities.in_turn:
        return [(side, each) for side in sides for each in rounds]
    return [(side, each) for each in rounds for side in sides]
