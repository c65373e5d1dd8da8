"""The engine that asks a running model server: what a server gives is measured, what it cannot give is said.

Prompts are rendered and tokenized with the FP16 side's own files, so that both sides are asked the same. A server gives
text, how an answer ended, its own counts and log-probabilities, and times. It gives no token ids, no probabilities of
a given text (teacher forcing) and no hidden states; asking for those is an error, and nothing is made up instead.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wfgy_triage.engines.base import (
    Capabilities,
    Completion,
    EngineInfo,
    GenerationRequest,
    LogitChunk,
    ScoreRequest,
)
from wfgy_triage.engines.openai_calls import Called, run_calls, run_once
from wfgy_triage.engines.openai_client import ServerClient
from wfgy_triage.engines.openai_facts import UNSEEN, Boot
from wfgy_triage.engines.openai_faults import ServerFault
from wfgy_triage.engines.openai_flavours import Flavour
from wfgy_triage.engines.openai_prompts import PromptCheck, demand_whole
from wfgy_triage.engines.openai_requests import RequestWriter
from wfgy_triage.engines.openai_stream import Answer, read_answer
from wfgy_triage.engines.requests import check_generation
from wfgy_triage.engines.tokens import TokenizerSide
from wfgy_triage.errors import ProbeError
from wfgy_triage.measure.json_prefix import could_go_on
from wfgy_triage.measure.json_validity import classify_json
from wfgy_triage.server_settings import ServerSettings

_log = logging.getLogger(__name__)
NO_SCORES = (
    "A model server gives no probabilities of a given text (teacher forcing), so this is not measured."
)
NO_STATES = "A model server gives no hidden states, so this is not measured."
SHOWN_FAULTS = 5


@dataclass(frozen=True)
class Server:
    """A server that has been asked who it is.

    Attributes:
        settings: where and how.
        key: its key; nothing prints this record.
        flavour: its kind.
        model: the name to ask for; empty leaves it out.
        logprobs: it gives log-probabilities of its own tokens.
        tokenizes: its tokenizer answered.
        prompts: how it is seen that it has cut a prompt.
        boot: what was seen of its start.
    """

    settings: ServerSettings
    key: str
    flavour: Flavour
    model: str
    logprobs: bool
    tokenizes: bool
    prompts: PromptCheck
    boot: Boot = UNSEEN

    def __repr__(self) -> str:
        return f"Server({self.flavour.name or 'unknown kind'})"

    def client(self) -> ServerClient:
        """A client for one event loop."""
        return ServerClient(self.settings, self.key)


class ServedEngine(TokenizerSide):
    """An `Engine` around a server; see `wfgy_triage.engines.base.Engine`.

    Args:
        server: who answers.
        tokenizer: of the FP16 side, in transformers.
        info: what is known of the model.
        side: `FP16` or `EXL2`, for the messages.
    """

    def __init__(self, server: Server, tokenizer: Any, info: EngineInfo, side: str) -> None:
        super().__init__(tokenizer, info, frozenset())
        self._server, self._side, self._closed = server, side, False
        self.boot = server.boot
        """What was seen of the server's start; the doctor tells it."""
        settings = replace(server.settings, logprobs=server.logprobs)
        self._writer = RequestWriter(settings, server.flavour, server.model, tokenizer, self.encode)
        holds = self._writer.schema_form is not None
        self.capabilities = Capabilities(
            score=False,
            embed=False,
            grammar=holds,
            grammars=("json_schema",) if holds else (),
            served=True,
        )

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text` by the FP16 side's tokenizer; see the protocol."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Complete the requests; see the protocol.

        Raises:
            InputError: a request cannot be written for this server; nothing was asked then.
            ProbeError: after everything else was answered: questions that failed in spite of further tries. At once
                where the server as a whole does not answer, or does not hold answers to a schema as asked.
        """
        if self._closed:
            raise ProbeError("The engine is closed.", "Open the pair again.")
        check_generation(requests, self.info.vocab_size, self.info.max_context)
        bodies = [(request, self._writer.body(request)) for request in requests]
        return self._answers(bodies, should_stop or (lambda: False))

    def server_token_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]] | None:
        """Token ids by the server's own tokenizer; None where it offers none.

        Raises:
            PrerequisiteError: it does not answer.
        """
        if not self._server.tokenizes:
            return None

        async def ask() -> list[tuple[int, ...]]:
            async with self._server.client() as client:
                return [await token_ids(client, self._server.flavour, text) for text in texts]

        return run_once(ask(), f"The server of the {self._side} side does not tokenize.")

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """Not possible."""
        raise ProbeError(NO_SCORES, "Load the folder here to measure it.")

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """Not possible."""
        raise ProbeError(NO_STATES, "Load the folder here to measure it.")

    def close(self) -> None:
        """Nothing to give back: the server goes on."""
        self._closed = True

    def _answers(
        self, bodies: Sequence[tuple[GenerationRequest, dict[str, Any]]], should_stop: Callable[[], bool]
    ) -> Iterator[Completion]:
        failed: list[Called[tuple[GenerationRequest, dict[str, Any]], Completion]] = []
        at_a_time = self._server.settings.concurrency
        for called in run_calls(self._server.client, bodies, self._ask, at_a_time, should_stop):
            if called.found is not None:
                yield called.found
                self._demand_held(called.asked[0], called.found)
            else:
                failed.append(called)
        if failed and not should_stop():
            raise self._failure([(c.asked[0].id, c.fault) for c in failed if c.fault is not None])

    async def _ask(self, client: ServerClient, asked: tuple[GenerationRequest, dict[str, Any]]) -> Completion:
        request, body = asked

        async def attempt() -> Answer:
            began = time.monotonic()
            async with client.open("POST", self._writer.path, body) as response:
                return await read_answer(response, began, request.stop_strings, client.quoted)

        answer = await client.patiently(attempt)
        flavour = self._server.flavour
        await demand_whole(
            self._server.prompts,
            body,
            answer.prompt_tokens,
            self.encode,
            lambda text: token_ids(client, flavour, text),
        )
        return Completion(
            request.id,
            answer.text,
            (),
            tuple(answer.logprobs),
            answer.ended or "stop",
            answer.completion_tokens,
            answer.timing,
        )

    def _demand_held(self, request: GenerationRequest, answer: Completion) -> None:
        """An answer that no continuation could make fit says that the server does not hold it to the schema.

        Servers ignore options that they do not know, so an accepted one proves nothing. What was cut, by the length or
        by a text that ends the answer, may still have been on its way to a valid one.
        """
        if request.grammar is None or request.grammar.kind != "json_schema":
            return
        schema = json.loads(request.grammar.text)
        found = classify_json(answer.text, schema, truncated=False)
        if found.schema_valid or (not found.parse_valid and could_go_on(answer.text, schema)):
            return
        name = request.id.partition("/")[0]
        raise ProbeError(
            f"The server of the {self._side} side was asked to hold its answers to a JSON schema, and its answer to"
            f" {name} breaks it ({found.detail.rstrip('.')}): it ignores the option, or a part of it.",
            "Use a version of the server that enforces the schema, or load the folder here.",
        )

    def _failure(self, faults: Sequence[tuple[str, ServerFault]]) -> ProbeError:
        """One error for the questions that failed; the others are kept, and a resumed run asks these again."""
        for name, fault in faults:
            _log.warning("the server of the %s side failed on %s: %s", self._side, name, fault.message)
        last = faults[-1][1]
        if last.whole:
            return ProbeError(
                f"The server of the {self._side} side cannot be asked any more. {last.message}", last.hint
            )
        names = ", ".join(name.partition("/")[0] for name, _ in faults[:SHOWN_FAULTS])
        more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        tried = f", after {self._server.settings.retries} further tries" if last.passing else ""
        return ProbeError(
            f"The server of the {self._side} side gave no answer to {names}{more}{tried}. {last.message}"
            " Everything else was measured and is kept.",
            f"{last.hint} Resume this session to ask these again.".strip(),
        )


async def token_ids(client: ServerClient, flavour: Flavour, text: str) -> tuple[int, ...]:
    """Token ids of a text by the server's tokenizer, nothing added.

    Raises:
        ServerFault: it offers none, or answers in another form.
    """
    if flavour.tokenize is None:
        raise ServerFault("The server is not known to offer its tokenizer.")
    path, body = flavour.tokenize, {**flavour.tokenize_body, flavour.tokenize_text: text}
    data = await client.patiently(lambda: client.post_json(path, body))
    found = data.get("tokens") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(type(i) is int for i in found):
        raise ServerFault("The server's tokenizer answered in an unknown form.")
    return tuple(found)
