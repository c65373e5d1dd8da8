"""What a run asks: prompts with their budgets and seeds, the same on every side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from wfgy_triage.engines.base import Engine, GenerationRequest, Grammar, ScoreRequest
from wfgy_triage.engines.suggested import GREEDY, Sampling, SidesSampling
from wfgy_triage.errors import InputError
from wfgy_triage.store.records import Sample

SHOWN_TOO_LONG = 10
"""How many questions an error names."""
DRAFTS = 3
"""How many earlier answers are handed to an engine as guesses."""
RUNS = "runs"
"""The arm of a run in which its questions come again, in every wording and under every seed."""
ARMS = ("", RUNS)
"""The arms in which changes are tried; the first has no name."""


OF_FP16 = ("fp16", "held:", "try:fp16:")
"""What the names of sides begin with on which FP16 is asked, the last with a change that is tried.

All others ask EXL2's weights.
"""
SECOND_DRAWS = frozenset({"fp16_floor", "exl2_again"})
"""Sides on which a model is asked once more for its noise: an answer that is drawn is drawn with another seed there.

Not that of an EXL2 loaded here, where only the engine's sums are noise. Its settings are part of what is measured, and
whether they lose answers the paired test tells: how often a drawn answer comes out otherwise would hide the loss.
"""


def arm_side(side: str, arm: str) -> str:
    """Under which side the answers of an arm are stored: `exl2`, `exl2_runs`."""
    return f"{side}_{arm}" if arm else side


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
        grammar: what the answer has to look like; None leaves it to the model.
        messages: the conversation that the prompt was rendered from; empty for plain text.
        arm: which arm of the run asks it, where a run asks its questions in more than one.
        expected: token ids of the right answer, where the form of an answer is given: a guess of what is answered.
        sampling: where each side is asked with settings of its own, these; they replace `temperature` and `top_p`.
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
    grammar: Grammar | None = None
    messages: tuple[tuple[str, str], ...] = ()
    arm: str = ""
    expected: tuple[int, ...] = ()
    sampling: SidesSampling | None = None

    @property
    def request_id(self) -> str:
        """Unique among the items of a run."""
        name = f"{self.question}/{self.paraphrase}/{self.seed}"
        return f"{name}/{self.arm}" if self.arm else name

    @property
    def request(self) -> GenerationRequest:
        """What an engine is asked."""
        return GenerationRequest(
            self.request_id,
            self.prompt_ids,
            self.max_new_tokens,
            self.temperature,
            self.top_p,
            self.seed,
            self.stop_strings,
            self.grammar,
            self.messages,
        )

    def sampling_of(self, side: str) -> Sampling:
        """The sampling settings with which a side is asked."""
        if self.sampling is None:
            return Sampling(self.temperature, self.top_p)
        return self.sampling.fp16 if side.startswith(OF_FP16) else self.sampling.exl2

    def asked(self, side: str) -> GenerationRequest:
        """What an engine is asked on a side: `request`, with the side's own sampling where it has any.

        An answer that is drawn with a side's own settings has a seed that depends on the question too, the same on
        every side: the draws of different questions are then independent of each other.
        """
        if self.sampling is None:
            return self.request
        own = self.sampling_of(side)
        found = replace(self.request, temperature=own.temperature, top_p=own.top_p, sampler=own.sampler)
        drawn_again = side in SECOND_DRAWS and (side.startswith(OF_FP16) or own.sampler.server_own)
        return replace(found, seed=self._seed(drawn_again)) if own.drawn else found

    def _seed(self, again: bool) -> int:
        named = f"{self.seed}/{self.question}/{self.paraphrase}/{'again' if again else ''}"
        # 31 bits: what every server takes.
        return int.from_bytes(hashlib.sha256(named.encode()).digest()[:4]) >> 1

    def with_exl2(self, sampling: Sampling) -> Item:
        """The same, with EXL2 asked with other sampling settings."""
        fp16 = self.sampling_of("fp16")
        return replace(self, sampling=SidesSampling(fp16, sampling))

    def told(self, side: str) -> dict[str, object]:
        """What is stored beside an answer of how it was asked: the side's own sampling where that is not neutral."""
        own = self.sampling_of(side)
        return {} if self.sampling is None or own == GREEDY else {"sampling": own.to_json()}

    def scoring(self, answer: tuple[int, ...]) -> ScoreRequest:
        """What an engine is asked to score this answer."""
        return ScoreRequest(self.request_id, self.prompt_ids + answer, len(self.prompt_ids))


def drafts_for(item: Item, answered: Iterable[Sample]) -> tuple[tuple[int, ...], ...]:
    """Token ids of texts that an answer to this item may be like, the likeliest first: earlier answers, the right one.

    Args:
        item: what is asked.
        answered: stored answers to its question, of whatever side, wording and seed, the oldest first.
    """

    def rank(sample: Sample) -> tuple[bool, bool]:
        other = (sample.key.paraphrase, sample.key.seed) != (item.paraphrase, item.seed)
        return other, not sample.key.side.startswith("fp16")

    # Stable: of two alike the older one, which is the side as it is before a change is tried.
    ordered = sorted(answered, key=rank)[:DRAFTS]
    return (*(tuple(s.payload["token_ids"]) for s in ordered), item.expected)


def conversation(messages: Iterable[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """Messages as an item carries them."""
    return tuple((m["role"], m["content"]) for m in messages)


def _needed(item: Item) -> int:
    """Tokens of a question and the longest answer to it."""
    return len(item.prompt_ids) + item.max_new_tokens


def fits(item: Item, engine: Engine) -> bool:
    """Whether an engine's context holds a question with its answer."""
    return _needed(item) <= engine.info.max_context


def refuse_too_long(items: Iterable[Item], engine: Engine, *, exl2: bool = False) -> None:
    """Refuse questions that do not fit into an engine's context, before anything is measured.

    Args:
        items: what is to be asked.
        engine: whom.
        exl2: whether it is the EXL2 side, whose context is not what the user looks at first.

    Raises:
        InputError: names them, with the tokens they need.
    """
    long = {i.question: _needed(i) for i in items if not fits(i, engine)}
    if not long:
        return
    listed = ", ".join(f"{q} ({n:,})" for q, n in list(long.items())[:SHOWN_TOO_LONG])
    more = f" and {len(long) - SHOWN_TOO_LONG} more" if len(long) > SHOWN_TOO_LONG else ""
    tokens = f"{engine.info.max_context:,}"
    if exl2:
        raise InputError(
            f"The EXL2 model's context has {tokens} tokens, fewer than FP16's; these questions need more with their "
            f"answers: {listed}{more}.",
            "Give it a longer context (`context` in the pair's engine block, max_seq_len of a server), shorten the "
            "questions or leave them out.",
        )
    raise InputError(
        f"The model's context has {tokens} tokens; these questions need more with their answers: {listed}{more}.",
        "Shorten them or leave them out.",
    )
