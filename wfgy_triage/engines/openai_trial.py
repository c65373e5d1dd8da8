"""What a server is asked on trial before a run: a short greeting, and one drawn answer twice with the same seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.openai_client import ServerClient
from wfgy_triage.engines.openai_engine import Server, token_ids
from wfgy_triage.engines.openai_facts import ServerFacts
from wfgy_triage.engines.openai_faults import ServerFault
from wfgy_triage.engines.openai_prompts import PromptCount, prompt_check, sent_texts
from wfgy_triage.engines.openai_requests import RequestWriter
from wfgy_triage.engines.openai_stream import Answer, read_answer
from wfgy_triage.errors import InputError
from wfgy_triage.server_settings import ServerSettings

HELLO, HELLO_TOKENS = "Say hello.", 4
DRAWN = "Go on with random words and numbers: 3.14159, Größe, 1,000,000, façade, def f(x): return 0x1F,"
"""Digits, letters with marks, signs: tokenizers that differ seldom make the same number of tokens of them."""
DRAWN_TOKENS = 8
HEAT = 1.5
"""Temperature of the drawn answers: high, so that draws which have nothing to do with each other differ."""
SEED, OTHER_SEED = 7, 8


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        server: who answers, and what it can give.
        hello: the greeting.
        seeds: what was seen of its seeds, as a sentence; empty where its kind is known to take none.
        put_off: how often the greeting had to be asked again.
    """

    server: Server
    hello: Answer
    seeds: str
    put_off: int = 0


@dataclass(frozen=True)
class _Said:
    """An answer, and the request as it was sent."""

    answer: Answer
    body: dict[str, Any]


async def try_server(settings: ServerSettings, key: str, facts: ServerFacts, tokenizer: Any) -> Trial:
    """Ask for a few tokens: whether it generates, counts, follows a seed, and gives log-probabilities.

    Args:
        settings: where and how.
        key: from `read_key`.
        facts: what it says of itself.
        tokenizer: of the FP16 side.

    Raises:
        ServerFault: it gives no greeting, or cannot be asked any more.
    """
    async with ServerClient(settings, key) as client:
        asking = _Asking(client, settings, facts, tokenizer)
        hello = await asking.greet()
        put_off = client.put_off
        tokenizes = await asking.tokenizes()
        drawn, told = await asking.draw() if facts.flavour.seeds else ([], "")
    first, *further = (
        PromptCount(asking.ours(said.body), said.answer.prompt_tokens) for said in (hello, *drawn)
    )
    as_ids = isinstance(hello.body.get("prompt"), list)
    prompts = prompt_check(first, further, as_ids=as_ids, tokenizes=tokenizes)
    logprobs = bool(hello.answer.logprobs)
    server = Server(settings, key, facts.flavour, facts.model, logprobs, tokenizes, prompts)
    return Trial(server, hello.answer, told, put_off)


class _Asking:
    """Short questions to a server within one event loop."""

    def __init__(
        self, client: ServerClient, settings: ServerSettings, facts: ServerFacts, tokenizer: Any
    ) -> None:
        self._client, self._settings, self._facts, self._tokenizer = client, settings, facts, tokenizer

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def ours(self, body: dict[str, Any]) -> int:
        """Tokens of what was sent, by FP16's tokenizer."""
        if isinstance(body.get("prompt"), list):
            return len(body["prompt"])
        return sum(len(self._encode(text)) for text in sent_texts(body))

    async def greet(self) -> _Said:
        """The greeting, with log-probabilities where they are wanted and given."""
        settings, request = self._settings, self._request("hello", HELLO, HELLO_TOKENS)
        try:
            return await self._ask(settings, request)
        except ServerFault as fault:
            if fault.passing or fault.whole or not settings.logprobs:
                raise
            # Some servers refuse a request for probabilities that they do not give.
            return await self._ask(replace(settings, logprobs=False), request)

    async def draw(self) -> tuple[list[_Said], str]:
        """The drawn answers, and what they show of the seeds."""
        plain = replace(self._settings, logprobs=False)
        request = replace(self._request("draw", DRAWN, DRAWN_TOKENS), temperature=HEAT, seed=SEED)
        try:
            drawn = [await self._ask(plain, request) for _ in range(2)]
            if drawn[0].answer.text == drawn[1].answer.text:
                # A server that draws nothing gives the same text too.
                drawn.append(await self._ask(plain, replace(request, seed=OTHER_SEED)))
        except (ServerFault, InputError) as error:
            if isinstance(error, ServerFault) and error.whole:
                raise
            return [], f"Whether a drawn answer comes again with its seed is not known. {error.message}"
        return drawn, _seeds_told([said.answer.text for said in drawn])

    async def tokenizes(self) -> bool:
        """Whether the server's own tokenizer can be asked."""
        try:
            return bool(await token_ids(self._client, self._facts.flavour, HELLO))
        except ServerFault:
            return False

    def _request(self, name: str, text: str, tokens: int) -> GenerationRequest:
        return GenerationRequest(name, self._encode(text), tokens, messages=(("user", text),))

    async def _ask(self, settings: ServerSettings, request: GenerationRequest) -> _Said:
        facts = self._facts
        writer = RequestWriter(settings, facts.flavour, facts.model, self._tokenizer, self._encode)
        body = writer.body(request)

        async def attempt() -> Answer:
            began = time.monotonic()
            async with self._client.open("POST", writer.path, body) as response:
                return await read_answer(response, began, (), self._client.quoted)

        return _Said(await self._client.patiently(attempt), body)


def _seeds_told(texts: Sequence[str]) -> str:
    """What two texts drawn with one seed, and where they are alike a third with another, say of the seeds."""
    if texts[0] != texts[1]:
        return (
            f"Asked twice with one seed at temperature {HEAT:g}, the server drew two different texts, so an answer"
            " that is drawn may not come again."
        )
    if texts[2] == texts[0]:
        return (
            f"The server gave the same text with two different seeds at temperature {HEAT:g}, as if it drew nothing or"
            " passed the seed over."
        )
    return f"Asked twice with one seed at temperature {HEAT:g}, the server drew the same text."
