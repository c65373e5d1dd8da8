"""What is sent to a model server for one question: prompt, limits, sampling, and the form of the answer.

Sampling is neutral, each setting named, or left to the server: then none is sent, so that the server's own act.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from wfgy_triage.engines.base import NEUTRAL as NEUTRAL_SAMPLER
from wfgy_triage.engines.base import GenerationRequest, Grammar
from wfgy_triage.engines.openai_flavours import NEUTRAL, Flavour, SchemaForm
from wfgy_triage.errors import InputError
from wfgy_triage.server_settings import ServerSettings

MOST_STOPS = 4
"""Stop strings that the common API takes; further ones are looked for here."""


class RequestWriter:
    """Writes requests for one server.

    Args:
        server: its settings.
        flavour: what kind it is.
        model: the name to ask for; empty leaves it out.
        tokenizer: of the FP16 side, in transformers.
        encode: text to token ids by that tokenizer, nothing added.
    """

    def __init__(
        self,
        server: ServerSettings,
        flavour: Flavour,
        model: str,
        tokenizer: Any,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self._server, self._flavour, self._model = server, flavour, model
        self._tokenizer, self._encode = tokenizer, encode
        self._start = None if flavour.keep_prompt else added_start(tokenizer)

    @property
    def path(self) -> str:
        """Where answers are asked for, below the base address."""
        return "chat/completions" if self._server.endpoint == "chat" else "completions"

    @property
    def schema_form(self) -> SchemaForm | None:
        """The option that holds an answer to a JSON schema; None: this server is not known to have one."""
        wanted = self._server.schema
        if wanted == "auto":
            # Any server with a chat endpoint alone follows the common API there, or refuses.
            return self._flavour.schema
        return None if wanted == "none" else wanted

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        """The document to send.

        Raises:
            InputError: the prompt or the sampling cannot be written for this server; names the request.
        """
        found: dict[str, Any] = {
            **self._sampling(request),
            "max_tokens": request.max_new_tokens,
            "seed": request.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._prompt(request),
        }
        if self._model:
            found["model"] = self._model
        if request.stop_strings:
            found["stop"] = list(request.stop_strings[:MOST_STOPS])
        if self._server.logprobs:
            found["logprobs"] = True if self._server.endpoint == "chat" else self._flavour.logprobs
        if request.grammar is not None:
            found |= self._form(request.grammar, request.id)
        return found

    def _sampling(self, request: GenerationRequest) -> Mapping[str, Any]:
        if request.sampler.server_own:
            return {"temperature": request.temperature} if request.temperature > 0 else {}
        if request.sampler != NEUTRAL_SAMPLER:
            raise InputError(
                f"The penalties and cut-offs of {request.id!r} have no common names among servers.",
                "Leave the sampling to the server, or ask with neutral settings.",
            )
        found = {"temperature": request.temperature, "top_p": request.top_p}
        return {**NEUTRAL, **self._flavour.neutral, **found}

    def _prompt(self, request: GenerationRequest) -> Mapping[str, Any]:
        if self._server.endpoint == "chat":
            if not request.messages:
                raise InputError(
                    f"The question {request.id!r} is plain text to go on with, and this server takes conversations"
                    " only.",
                    "Use a server with a completion endpoint (`endpoint: completions`) for this symptom.",
                )
            return {"messages": [{"role": role, "content": text} for role, text in request.messages]}
        if self._server.token_ids:
            return {"prompt": list(request.prompt_ids), **self._flavour.keep_prompt}
        return {"prompt": self._text(request), **self._flavour.keep_prompt}

    def _text(self, request: GenerationRequest) -> str:
        """The prompt as text that becomes the very same token ids again."""
        ids = request.prompt_ids
        text = next((t for t in self._spellings(ids) if tuple(self._encode(t)) == ids), None)
        if text is None:
            raise InputError(
                f"The prompt of {request.id!r} has no text that becomes the same token ids again.",
                "Send token ids (`token_ids: true`), if the server takes them.",
            )
        if self._start is not None and ids[0] == self._start[0] and text.startswith(self._start[1]):
            # A server that says nothing of itself puts the start token there by itself, as the tokenizer would.
            return text.removeprefix(self._start[1])
        return text

    def _spellings(self, ids: Sequence[int]) -> Iterator[str]:
        """Texts that may become these token ids."""
        yield self._decode(ids)
        # Tokenizers of Llama 2's kind put a space before each text between markers, which they take away only at the
        # very start when they decode.
        markers = {number: token.content for number, token in self._tokenizer.added_tokens_decoder.items()}
        runs = groupby(ids, markers.__contains__)
        yield "".join(
            "".join(markers[n] for n in run) if marked else self._decode(list(run)) for marked, run in runs
        )

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _form(self, grammar: Grammar, name: str) -> Mapping[str, Any]:
        form = self.schema_form
        if grammar.kind != "json_schema" or form is None:
            raise InputError(
                f"The answer to {name!r} cannot be held to its form on this server.",
                "Measure without this change.",
            )
        schema = json.loads(grammar.text)
        if form == "json_schema":
            return {"json_schema": schema}
        wrapped = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": wrapped}}


def added_start(tokenizer: Any) -> tuple[int, str] | None:
    """The start token (id, text) that a tokenizer puts before a text by itself; None where it puts none."""
    start = getattr(tokenizer, "bos_token_id", None)
    if start is None or list(tokenizer.encode("x"))[:1] != [start]:
        return None
    return int(start), str(tokenizer.bos_token)
