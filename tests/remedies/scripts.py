"""Engines that answer by what stands in the prompt, and cases around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import CAUSE, PAIR, no_engine, no_findings
from wfgy_triage.engines.base import Completion, GenerationRequest
from wfgy_triage.measure.chain import read_steps
from wfgy_triage.probes.base import Probe, ProbeContext, ProbeSettings
from wfgy_triage.probes.long_chain import LongChain, layout_of
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.chains import load_chains

Answer = Callable[[str, GenerationRequest], str]
CHAINS = {c.id: c for c in load_chains().chains}


class PromptEngine(ScriptedEngine):
    """Answers a prompt with what a function makes of it; every call and every prompt is kept."""

    def __init__(self, answer: Answer) -> None:
        super().__init__({})
        self.answer = answer
        self.calls: list[list[GenerationRequest]] = []

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        self.calls.append(list(requests))
        for request in reversed(requests):  # any order is allowed
            if should_stop is not None and should_stop():
                return
            text, reason = self.answer(self.decode(request.prompt_ids), request), "stop"
            if len(text) > request.max_new_tokens:
                text, reason = text[: request.max_new_tokens], "length"
            for stop in request.stop_strings:
                if stop in text:
                    text, reason = text[: text.index(stop)], "stop_string"
            yield Completion(request.id, text, self.encode(text), (-0.1,) * len(text), reason)

    def prompts(self, call: int) -> list[str]:
        return [self.decode(r.prompt_ids) for r in self.calls[call]]


class TwoWords:
    """A sentence model for which texts with a word are alike, and far from those without it."""

    def __init__(self, word: str) -> None:
        self.word = word

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if self.word in t else [0.0, 1.0] for t in texts], np.float32)


def counting(by: int, breaks_after: int, then: str = "same") -> Answer:
    """Goes on counting from the prompt's last number, and loses the thread after so many steps of its own."""

    def answer(prompt: str, request: GenerationRequest) -> str:
        value, text = int(re.findall(r"\d+", prompt)[-1]), ""
        for number in range(60):
            if number >= breaks_after and then == "prose":
                return text + " and so on and so on"
            value += by if number < breaks_after else 0
            text += f" {value},"
        return text

    return answer


def paying(breaks_after: int) -> Answer:
    """The same for the ledger, whose lines carry numbers."""

    def answer(prompt: str, request: GenerationRequest) -> str:
        label, value = map(int, re.findall(r"(\d+)\. pay 1 -> (\d+)", prompt)[-1])
        text = ""
        for number in range(60):
            label, value = label + 1, value - (1 if number < breaks_after else 0)
            text += f"{label}. pay 1 -> {value}\n"
        return text

    return answer


def context_of(
    probe_settings: ProbeSettings, exl2: ScriptedEngine, samples: Sequence[Sample] = ()
) -> ProbeContext:
    fp16 = ScriptedEngine({})
    return ProbeContext(
        fp16=fp16,
        exl2=exl2,
        open_floor=lambda: fp16,
        settings=probe_settings,
        done=frozenset(),
        stored=lambda: tuple(samples),
        save=lambda samples: None,
        progress=lambda stage, label, done, total: None,
        should_stop=lambda: False,
    )


def case_of(probe: Probe, exl2: ScriptedEngine, samples: Sequence[Sample] = (), **settings: object) -> Case:
    context = context_of(ProbeSettings(**settings), exl2, samples)
    subject = probe.subject(context)
    assert subject is not None
    return Case(context, subject, PAIR, CAUSE, Shop(no_engine, no_findings, Path()))


def chain_case(exl2: ScriptedEngine, samples: Sequence[Sample] = (), questions: int = 100) -> Case:
    return case_of(LongChain(lambda: TwoWords("-")), exl2, samples, questions=questions)


def right_steps(case: Case, completion: Completion) -> int:
    """How many steps of an answer are right."""
    item = next(i for i in case.subject.items if i.request_id == completion.id)
    return sum(r is True for r in case.subject.judge(item, completion)["right"])


def following(breaks_after: int) -> Answer:
    """Goes on with any chain by its rule from the prompt's last step, and sticks after so many steps of its own."""

    def answer(prompt: str, request: GenerationRequest) -> str:
        chain = CHAINS[request.id.split("/")[0]]
        kind, layout = chain.kind, layout_of(chain)
        shown = read_steps(
            prompt, replace(layout, first_label=1 if kind.numbered else None), 10**6, cut=False
        )
        words = {str(w).casefold(): str(w) for w in chain.params.get("states", ())}
        state = tuple(words.get(part, part) for part in shown[-1].state or ())
        text, label = "", shown[-1].step
        for number in range(60):
            after = chain.rule.follow(state, label + 1) if number < breaks_after else state
            label += 1
            text += kind.step.format(n=label, before=state, after=after, **chain.params) + kind.separator
            state = after
        return text

    return answer
