"""One pass over the questions of a run: answers of each side, then token-by-token comparison of the FP16 answers.

Everything is stored as it finishes and nothing that is stored is done again, so a pass may end at any point and a
later one goes on. What an answer is worth is the probe's business: it passes a function that judges one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, ScoreRequest, TokenScores
from wfgy_triage.engines.scoring import score_many, score_text
from wfgy_triage.errors import InputError
from wfgy_triage.measure.fluency import mean_logprob
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.store.records import Sample, SampleKey

ROUND = 40
"""Questions per round: FP16 answers, then EXL2 answers, so that the page shows both sides early."""
STAGES: Mapping[str, str] = {
    "fp16": "FP16 answers",
    "exl2": "EXL2 answers",
    "fp16_floor": "FP16 again, for the noise floor",
    "pair": "Word-by-word comparison",
    "pair_floor": "Noise of that comparison",
}
"""Side to what the page calls the stage that fills it."""
ANSWERING = frozenset({"fp16", "exl2", "fp16_floor"})
"""Sides on which an answer is generated."""
SHOWN_TOO_LONG = 10
Judge = Callable[["Item", Completion], Mapping[str, Any]]
"""What a probe stores of an answer besides the answer itself: plain JSON."""
Annotate = Callable[["Item", tuple[int, ...], TokenScores], Mapping[str, Any]]
"""What a probe adds to the comparison of an answer's tokens: lists of one entry a token, say."""


@dataclass(frozen=True)
class Item:
    """One thing to ask, the same on every side.

    Attributes:
        question: id within the workload.
        prompt_ids: token ids of the whole prompt.
        max_new_tokens: answer budget.
        paraphrase: which wording, from 0.
        seed: seed of the request.
        temperature: 0 is greedy.
        top_p: nucleus mass in (0, 1].
        stop_strings: what ends an answer besides the model's own end tokens.
        group: items of a group begin alike; they are scored together, so that the beginning is read once.
        compared: whether its answer is compared token by token.
    """

    question: str
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    paraphrase: int = 0
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    stop_strings: tuple[str, ...] = ()
    group: str = ""
    compared: bool = True

    @property
    def request_id(self) -> str:
        """Unique among the items of a run."""
        return f"{self.question}/{self.paraphrase}/{self.seed}"


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
        self._context, self._symptom, self._stages = context, symptom, stages
        self._items = {item.request_id: item for item in items}
        self._done = set(context.done)

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

    def has(self, item: Item, side: str) -> bool:
        """Whether a side of an item is stored."""
        return self.key(item, side) in self._done

    def run(self, judge: Judge, annotate: Annotate | None = None) -> None:
        """Everything a paired probe measures: both sides, the comparison, and the same with the FP16 twin.

        Raises:
            InputError: a question does not fit into the model's context; nothing has been measured then.
        """
        items = list(self._items.values())
        refuse_too_long(items, self._context.fp16.info.max_context)
        for start in range(0, len(items), ROUND):
            block = items[start : start + ROUND]
            self.answer("fp16", self._context.fp16, judge, block)
            self.answer("exl2", self._context.exl2, judge, block)
        if self._context.should_stop() or not self.missing("fp16_floor", "pair", "pair_floor"):
            return
        self.compare("pair", self._context.exl2, annotate)
        if self.missing("fp16_floor", "pair_floor") and not self._context.should_stop():
            twin = self._context.open_floor()
            self.answer("fp16_floor", twin, judge)
            self.compare("pair_floor", twin, annotate)

    def answer(self, side: str, engine: Engine, judge: Judge, items: Iterable[Item] | None = None) -> None:
        """Generate and store the answers of one side that are not stored yet (of all items unless given)."""
        todo = {i.request_id: i for i in self._todo(side, items)}
        if not todo or self._context.should_stop():
            return
        self._report(side)
        requests = [
            GenerationRequest(
                name, i.prompt_ids, i.max_new_tokens, i.temperature, i.top_p, i.seed, i.stop_strings
            )
            for name, i in todo.items()
        ]
        for completion in engine.generate(requests, self._context.should_stop):
            if completion.finish_reason != "cancelled":
                item = todo[completion.id]
                self._store(side, item, {**answer_payload(completion), **judge(item, completion)})

    def compare(self, side: str, candidate: Engine, annotate: Annotate | None = None) -> None:
        """Score the stored FP16 answers on the baseline and a candidate, token by token, and store that."""
        self.compare_many({side: candidate}, annotate=annotate)

    def compare_many(
        self,
        candidates: Mapping[str, Engine],
        items: Iterable[Item] | None = None,
        annotate: Annotate | None = None,
    ) -> None:
        """The same for several candidates by the side they are stored under; the baseline reads each answer once."""
        answers = self._answers("fp16")
        waiting: dict[tuple[tuple[str, ...], str], list[Item]] = {}
        for item in self._items.values() if items is None else items:
            sides = tuple(s for s in candidates if self.key(item, s) not in self._done)
            if item.compared and sides and answers.get(self.key(item, "fp16")):
                waiting.setdefault((sides, item.group), []).append(item)
        for (sides, _), block in sorted(waiting.items(), key=lambda entry: entry[0]):
            if self._context.should_stop():
                return
            self._report(sides[0])
            by_id = {i.request_id: i for i in block}
            requests = [
                ScoreRequest(name, i.prompt_ids + answers[self.key(i, "fp16")], len(i.prompt_ids))
                for name, i in by_id.items()
            ]
            for found in score_many(self._context.fp16, [candidates[s] for s in sides], requests):
                for side, scores in zip(sides, found, strict=True):
                    item = by_id[scores.id]
                    more = annotate(item, answers[self.key(item, "fp16")], scores) if annotate else {}
                    self._store(side, item, {**comparison_payload(scores), **more})

    def score(self, side: str, answered: str, engine: Engine) -> None:
        """Store how likely one engine finds the answers that another side gave (of items that are compared).

        Args:
            side: under which it is stored: `{"mean_logprob"}`, nats a token.
            answered: the side whose answers are read.
            engine: who reads them.
        """
        answers = self._answers(answered)
        todo = {i.request_id: i for i in self._todo(side) if answers.get(self.key(i, answered))}
        if not todo or self._context.should_stop():
            return
        self._report(side)
        requests = [
            ScoreRequest(name, i.prompt_ids + answers[self.key(i, answered)], len(i.prompt_ids))
            for name, i in todo.items()
        ]
        for name, logprobs in score_text(engine, requests):
            self._store(side, todo[name], {"mean_logprob": mean_logprob(logprobs)})

    def _expected(self, side: str) -> list[Item]:
        """The items that get a sample on this side."""
        return [i for i in self._items.values() if i.compared or side in ANSWERING]

    def _todo(self, side: str, items: Iterable[Item] | None = None) -> list[Item]:
        among = self._expected(side) if items is None else items
        return [i for i in among if self.key(i, side) not in self._done]

    def _answers(self, side: str) -> dict[SampleKey, tuple[int, ...]]:
        stored = self._context.stored()
        return {s.key: tuple(s.payload["token_ids"]) for s in stored if s.key.side == side}

    def _store(self, side: str, item: Item, payload: Mapping[str, Any]) -> None:
        key = self.key(item, side)
        self._context.save([Sample(key, payload)])
        self._done.add(key)
        self._report(side)

    def _report(self, side: str) -> None:
        # Sides of the localization are many and stand for one stage, which reports for itself.
        if side in self._stages:
            expected = self._expected(side)
            done = sum(self.key(i, side) in self._done for i in expected)
            self._context.progress(side, self._stages[side], done, len(expected))


def refuse_too_long(items: Iterable[Item], max_context: int) -> None:
    """Refuse questions that do not fit, before anything is measured.

    Raises:
        InputError: names them, with the tokens they need.
    """
    needed = {i.question: len(i.prompt_ids) + i.max_new_tokens for i in items}
    long = {q: n for q, n in needed.items() if n > max_context}
    if long:
        listed = ", ".join(f"{q} ({n:,})" for q, n in list(long.items())[:SHOWN_TOO_LONG])
        more = f" and {len(long) - SHOWN_TOO_LONG} more" if len(long) > SHOWN_TOO_LONG else ""
        raise InputError(
            f"The model's context has {max_context:,} tokens; these questions need more with their answers: "
            f"{listed}{more}.",
            "Shorten them or leave them out.",
        )


def answer_payload(completion: Completion) -> dict[str, Any]:
    """What is stored of every answer, whatever the probe."""
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "truncated": completion.finish_reason == "length",
        "tokens": len(completion.token_ids),
        "token_ids": list(completion.token_ids),
        "mean_logprob": mean_logprob(rounded(completion.logprobs)),
    }


def comparison_payload(scores: TokenScores) -> dict[str, Any]:
    """What is stored of every comparison: one number a token."""
    return {
        "kl": rounded(scores.kl),
        "ref_top_p": rounded(scores.ref_top_p),
        "same_top": [int(x) for x in scores.same_top],
        "ref_logprob": rounded(scores.ref_logprob),
        "cand_logprob": rounded(scores.cand_logprob),
    }


def token_pieces(engine: Engine, token_ids: Sequence[int]) -> list[str]:
    """The text that each token adds; a token that only begins a multi-byte character adds none yet."""
    pieces, shown = [], ""
    for end in range(1, len(token_ids) + 1):
        text = engine.decode(token_ids[:end])
        text = shown if text.endswith("\ufffd") else text
        pieces.append(text[len(shown) :])
        shown = text
    return pieces


def rounded(values: Iterable[float]) -> list[float]:
    """Six decimals: far below any noise floor, and a fifth of the space of full floats in the store."""
    return [round(float(v), 6) for v in values]
