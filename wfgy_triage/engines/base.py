"""The engine protocol: what a probe may ask of a loaded model, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

FinishReason = Literal["stop", "length", "stop_string", "cancelled"]
Mode = Literal["reproducible", "fast"]
"""`reproducible`: fp32, text independent of batch shape. `fast`: bf16 where the processor has it."""


GrammarKind = Literal["json_schema", "lark", "regex"]
Spacing = Literal["any", "compact", "spaced"]


@dataclass(frozen=True)
class Grammar:
    """What an answer has to look like, token by token.

    Attributes:
        kind: `json_schema` (draft 2020-12 as JSON text), `lark` (a context-free grammar in llguidance's variant of
            Lark, entered at the rule `start`), or `regex` (Rust syntax, matched as a whole).
        text: the grammar itself.
        spacing: white space between the tokens of JSON, for `json_schema` only: `compact` has none, `spaced` is
            `json.dumps`' (", " and ": "), `any` leaves it to the model.
    """

    kind: GrammarKind
    text: str
    spacing: Spacing = "any"


@dataclass(frozen=True)
class Sampler:
    """What shapes the choice of a token besides temperature and `top_p`, in the meaning that transformers gives it.

    Neutral as it stands: nothing is penalised or cut off.

    Attributes:
        top_k: only the so many likeliest tokens may be drawn; 0 is no limit.
        min_p: only tokens with at least this share of the likeliest one's probability, in [0, 1]; 0 is off.
        typical_p: only the tokens that are about as surprising as expected and together reach this mass, in (0, 1]; 1
            is off.
        repetition_penalty: logits of tokens that stand in the prompt or the answer are divided by it where they are
            positive, else multiplied; above 0, 1 is off. Holds for greedy answers too.
        server_own: a model server is sent no sampling setting but a temperature above 0, and draws as it is set up.
    """

    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    server_own: bool = False


NEUTRAL = Sampler()
"""Nothing but temperature and `top_p` has a part in the choice."""


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt to complete.

    Attributes:
        id: unique within a call; comes back on the completion.
        prompt_ids: token ids, special tokens included. Equal ids on both sides of a pair.
        max_new_tokens: upper bound on generated tokens; reaching it gives `finish_reason="length"`.
        temperature: 0 is greedy; otherwise logits are divided by it before sampling.
        top_p: nucleus mass in (0, 1].
        seed: seed of this request alone; the draw does not depend on other requests.
        stop_strings: generation ends when one appears in the new text; it is cut from `text`.
        grammar: only tokens that it allows are chosen; once nothing can follow, the answer is complete.
        messages: the conversation `(role, content)` that the prompt is rendered from; empty for plain text. Only a
            server that frames conversations itself reads it.
        drafts: token ids of texts that the answer may turn out like, the likeliest first. They make it faster or do
            nothing; the answer is the same.
        sampler: what shapes the choice besides temperature and `top_p`.
    """

    id: str
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop_strings: tuple[str, ...] = ()
    grammar: Grammar | None = None
    messages: tuple[tuple[str, str], ...] = ()
    drafts: tuple[tuple[int, ...], ...] = ()
    sampler: Sampler = NEUTRAL


@dataclass(frozen=True)
class Timing:
    """When words arrived, in seconds: from the request to the first, and for each further token (None: not known)."""

    first: float
    further: float | None


@dataclass(frozen=True)
class Completion:
    """The answer to one request.

    `token_ids` excludes the end-of-sequence token; `logprobs[i]` is the natural-log probability of
    `token_ids[i]` under the model's own distribution before temperature, and before a grammar's mask (nats).
    A server gives no token ids: they are empty then, `logprobs` is what it says of its tokens, if anything, and
    `counted` how many it counts.
    """

    id: str
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    counted: int | None = None
    timing: Timing | None = None


@dataclass(frozen=True)
class Capabilities:
    """What the engine can do; a missing one is NOT MEASURED downstream, never guessed.

    `grammars` names the kinds of grammar that it holds answers to; `served`: answers come from a server, whose model,
    arithmetic and load are not known here; `speed_tells`: it computes here as a deployed model does, in 16-bit numbers
    on a GPU, so the time that it takes says something (it is a `TimedEngine` then); `in_turn`: its model is loaded only
    while no other of the pair is, so that going from one to another takes time (`in_turn.TurnEngine`).
    """

    generate: bool = True
    score: bool = True
    embed: bool = True
    speed_tells: bool = False
    grammar: bool = True
    grammars: tuple[GrammarKind, ...] = ("json_schema", "lark", "regex")
    served: bool = False
    in_turn: bool = False


@dataclass(frozen=True)
class EngineInfo:
    """What is loaded, for provenance and for the page.

    `cache` says how keys and values are kept between tokens (`FP16`: as they were computed); empty where a server keeps
    that to itself.
    """

    engine: str
    engine_version: str
    architecture: str
    device: str
    compute_dtype: str
    mode: Mode
    deterministic: bool
    memory_bytes: int
    vocab_size: int
    max_context: int
    notes: tuple[str, ...] = ()
    layers: int = 0
    cache: str = "FP16"


@dataclass(frozen=True)
class ScoreRequest:
    """A token sequence to score by teacher forcing.

    Positions `first..len(token_ids)-1` are scored: the distribution predicted for each from its prefix.
    """

    id: str
    token_ids: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class LogitChunk:
    """Logits for consecutive scored positions of one sequence.

    `logits` has shape (positions, vocab), float32, natural scale; row r predicts `token_ids[start + r]`.
    Valid only until the iterator advances.
    """

    id: str
    start: int
    logits: torch.Tensor


@dataclass(frozen=True)
class TokenScores:
    """Per-token comparison of two models on one sequence (arrays of shape (positions,), float64).

    Attributes:
        id: the request's id.
        kl: KL(reference || candidate) in nats.
        ref_top_p: the reference's largest probability (its confidence).
        same_top: 1 where both models' most likely token is the same.
        ref_logprob: reference log-probability of the actual token, nats.
        cand_logprob: candidate log-probability of the actual token, nats.
        ref_entropy: entropy of the reference's distribution, nats.
        cand_entropy: entropy of the candidate's distribution, nats.
    """

    id: str
    kl: np.ndarray
    ref_top_p: np.ndarray
    same_top: np.ndarray
    ref_logprob: np.ndarray
    cand_logprob: np.ndarray
    ref_entropy: np.ndarray
    cand_entropy: np.ndarray


class Engine(Protocol):
    """A loaded model. Not thread-safe: one caller at a time."""

    info: EngineInfo
    capabilities: Capabilities

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`; special-token markup in it becomes special tokens; nothing is added."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of the ids, special tokens kept out."""
        ...

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Render the model's own chat template, ending where the assistant's answer begins."""
        ...

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Yield completions as they finish, in any order. After `should_stop()` is true, the unfinished are dropped."""
        ...

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """Yield logits chunk by chunk: sequences in the order given, positions in order.

        Every engine cuts the same requests into the same chunks. After `should_stop()` is true, it ends early, also
        while it reads a long text whose first scored position is far away.
        """
        ...

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """Mean-pooled hidden states after each of `layers` blocks, shape (layers, texts, hidden), float32.

        Layer 0 is the embedding, `info.layers` the normalized last state. One pass gives all of them.
        """
        ...

    def close(self) -> None:
        """Give the memory back. Afterwards it only answers what its tokenizer knows: encode, decode, render_chat."""
        ...


class TimedEngine(Engine, Protocol):
    """An engine whose speed tells something (`Capabilities.speed_tells`)."""

    def forget_prompts(self) -> None:
        """Drop what earlier calls computed of prompts, so that the next call can be timed."""
        ...
